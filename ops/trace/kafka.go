package trace

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// readKafka finds the record of each event. Kafka being away is a note.
func (t *teller) readKafka(ctx context.Context) error {
	if len(t.Brokers) == 0 || len(t.story.Events) == 0 || t.KafkaTimeout < 0 {
		return nil
	}
	limited, cancel := context.WithTimeout(ctx, t.KafkaTimeout)
	defer cancel()
	err := t.scan(limited)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		t.story.Notes = append(t.story.Notes, fmt.Sprintf("Kafka was not read to its end within %s: places may be missing", t.KafkaTimeout))
	case err != nil:
		t.story.Notes = append(t.story.Notes, fmt.Sprintf("Kafka could not be read: %v", err))
	default:
		t.asked = true
	}
	return nil
}

// scan reads, for each topic, the partition of the key from the time of the first
// row on, up to where it ends now.
func (t *teller) scan(ctx context.Context) error {
	client, err := kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(t.Brokers...), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords(), kgo.FetchMaxWait(250 * time.Millisecond),
	}, t.KafkaOptions...)...)
	if err != nil {
		return fmt.Errorf("make a Kafka client: %w", err)
	}
	defer client.Close()
	ends, err := t.bounds(ctx, client)
	if err != nil {
		return err
	}
	wanted := make(map[uuid.UUID]*Event)
	for i := range t.story.Events {
		e := &t.story.Events[i]
		wanted[e.ID] = e
	}
	seen := make(map[uuid.UUID]bool)
	for len(ends) > 0 {
		fetches := client.PollFetches(ctx)
		if err := ctx.Err(); err != nil {
			return err
		}
		for _, e := range fetches.Errors() {
			return fmt.Errorf("read %s/%d: %w", e.Topic, e.Partition, e.Err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			end, ok := ends[r.Topic]
			if ok && r.Offset < end && !r.Attrs.IsControl() {
				note(wanted, seen, r)
			}
			if r.Offset+1 >= end {
				delete(ends, r.Topic)
			}
		})
	}
	return nil
}

// bounds tells the client where to read, and returns where each topic ends.
func (t *teller) bounds(ctx context.Context, client *kgo.Client) (map[string]int64, error) {
	from := make(map[string]time.Time) // created_at is not commit order: the least
	first := time.Time{}
	for _, e := range t.story.Events {
		if at, ok := from[e.Topic]; !ok || e.CreatedAt.Before(at) {
			from[e.Topic] = e.CreatedAt
		}
		if first.IsZero() || e.CreatedAt.Before(first) {
			first = e.CreatedAt
		}
	}
	admin := kadm.NewClient(client) // shares the client; closed with it
	details, err := admin.ListTopics(ctx)
	if err != nil {
		return nil, fmt.Errorf("list topics: %w", err)
	}
	partitions := make(map[string]int32)
	var names []string
	for name := range from {
		if n := len(details[name].Partitions); n > 0 {
			p := kgo.StickyKeyPartitioner(nil).ForTopic(name).Partition(&kgo.Record{Key: []byte(t.story.Key)}, n)
			partitions[name] = int32(p)
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return nil, nil
	}
	ends, err := admin.ListCommittedOffsets(ctx, names...)
	if err != nil {
		return nil, fmt.Errorf("list ends of topics: %w", err)
	}
	starts, err := admin.ListOffsetsAfterMilli(ctx, first.UnixMilli(), names...)
	if err != nil {
		return nil, fmt.Errorf("list offsets by time: %w", err)
	}
	assign := make(map[string]map[int32]kgo.Offset)
	until := make(map[string]int64)
	for _, name := range names {
		start, ok1 := starts.Lookup(name, partitions[name])
		end, ok2 := ends.Lookup(name, partitions[name])
		if !ok1 || !ok2 || start.Err != nil || end.Err != nil {
			return nil, fmt.Errorf("list offsets of %s/%d: %w", name, partitions[name], errors.Join(start.Err, end.Err))
		}
		if start.Offset < end.Offset {
			assign[name] = map[int32]kgo.Offset{partitions[name]: kgo.NewOffset().At(start.Offset)}
			until[name] = end.Offset
		}
	}
	client.AddConsumePartitions(assign)
	return until, nil
}

// note takes a record that may be one of the wanted. The first is its place; a
// claim may know an earlier one, which Kafka has forgotten.
func note(wanted map[uuid.UUID]*Event, seen map[uuid.UUID]bool, r *kgo.Record) {
	var id, position string
	for _, h := range r.Headers {
		switch h.Key {
		case "id":
			id = string(h.Value)
		case "gapless_position":
			position = string(h.Value)
		}
	}
	parsed, err := uuid.Parse(id)
	if err != nil {
		return
	}
	e := wanted[parsed]
	switch {
	case e == nil || e.Topic != r.Topic:
	case seen[parsed]:
		e.Record.Repeats++
	default:
		seen[parsed] = true
		e.Record = &Record{Partition: r.Partition, Offset: r.Offset, Position: position}
	}
}
