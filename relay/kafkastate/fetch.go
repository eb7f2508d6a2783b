package kafkastate

import (
	"context"
	"fmt"
	"slices"

	"github.com/twmb/franz-go/pkg/kgo"
)

// far is how many records are rather passed over by asking anew than by reading them.
const far = 1000

// Fetch reads the bytes of parked rows, of which Slot gave copies, from the topic.
func (l *Log) Fetch(ctx context.Context, held []*Held) (map[Place]Row, error) {
	rows := make(map[Place]Row, len(held))
	if len(held) == 0 {
		return rows, nil
	}
	at := make([]int64, len(held))
	wanted := make(map[int64]Place, len(held))
	for i, h := range held {
		at[i], wanted[h.offset] = h.offset, h.At
	}
	slices.Sort(at)
	for len(at) > 0 {
		n := 1
		for n < len(at) && at[n]-at[n-1] < far {
			n++
		}
		if err := l.fetch(ctx, at[:n], wanted, rows); err != nil {
			return nil, err
		}
		at = at[n:]
	}
	return rows, nil
}

// fetch reads the rows at offsets that lie close together.
func (l *Log) fetch(ctx context.Context, offsets []int64, wanted map[int64]Place, rows map[Place]Row) error {
	client, err := kgo.NewClient(l.reading(kgo.NewOffset().At(offsets[0]))...)
	if err != nil {
		return fmt.Errorf("make kafka client: %w", err)
	}
	defer client.Close()
	last := offsets[len(offsets)-1]
	for read := int64(-1); read < last; {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return fmt.Errorf("read parked rows from topic %s: %w", l.cfg.Topic, err)
		}
		var wrong error
		fetches.EachRecord(func(r *kgo.Record) {
			read = max(read, r.Offset)
			place, ok := wanted[r.Offset]
			if !ok || wrong != nil {
				return
			}
			var row Row
			if wrong = decode(r.Value, &row); wrong == nil {
				rows[place] = row
			}
		})
		if wrong != nil {
			return fmt.Errorf("read parked rows from topic %s: %w", l.cfg.Topic, wrong)
		}
	}
	for _, offset := range offsets {
		if place := wanted[offset]; rows[place].V == 0 {
			return &UnusableError{
				fmt.Sprintf("topic %s does not have parked row %s any more, which was at offset %d", l.cfg.Topic, place, offset),
				"Find out what happened to the topic. " + byHand(l.cfg.Slot),
			}
		}
	}
	return nil
}
