package inspect

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// ageWithin bounds how long the oldest messages are looked for. What is not
// found by then has no age; the lag in messages stands.
const ageWithin = 3 * time.Second

// place is a message that a consumer has not settled.
type place struct {
	topic     string
	partition int32
}

// readAges reads the first message that is ahead of each offset: its timestamp is
// when its row was written.
func readAges(ctx context.Context, c ConsumeConfig, list []ConsumerStatus) error {
	// Consumers share partitions and stand at different offsets. To read on from
	// the least of them would mean reading the whole lag: each distinct offset is
	// asked for by itself.
	type ask struct {
		place
		offset int64
	}
	rounds := []map[place]int64{}
	known := make(map[ask]time.Time)
	for i := range list {
		for _, p := range list[i].Partitions {
			if p.Lag == 0 {
				continue
			}
			a := ask{place{p.Topic, p.Partition}, p.next()}
			if _, ok := known[a]; ok {
				continue
			}
			known[a] = time.Time{}
			rounds = enlist(rounds, a.place, a.offset)
		}
	}
	limited, cancel := context.WithTimeout(ctx, ageWithin)
	defer cancel()
	for _, round := range rounds {
		found, err := firstTimes(limited, c, round)
		if err != nil {
			return err
		}
		for at, when := range found {
			known[ask{at, round[at]}] = when
		}
	}
	for i := range list {
		s := &list[i]
		for j := range s.Partitions {
			p := &s.Partitions[j]
			if when := known[ask{place{p.Topic, p.Partition}, p.next()}]; p.Lag > 0 && !when.IsZero() {
				p.LagSeconds = max(0, s.at.Sub(when).Seconds())
				s.LagSeconds = max(s.LagSeconds, p.LagSeconds)
			}
		}
	}
	return nil
}

// next is the first offset that is not settled.
func (p *PartitionStatus) next() int64 { return p.End - p.Lag }

// enlist puts an offset into the first round in which its partition is free: a
// client reads a partition at one offset.
func enlist(rounds []map[place]int64, at place, offset int64) []map[place]int64 {
	for _, round := range rounds {
		if _, taken := round[at]; !taken {
			round[at] = offset
			return rounds
		}
	}
	return append(rounds, map[place]int64{at: offset})
}

func firstTimes(ctx context.Context, c ConsumeConfig, round map[place]int64) (map[place]time.Time, error) {
	offsets := make(map[string]map[int32]kgo.Offset)
	for at, offset := range round {
		if offsets[at.topic] == nil {
			offsets[at.topic] = make(map[int32]kgo.Offset)
		}
		offsets[at.topic][at.partition] = kgo.NewOffset().At(offset)
	}
	client, err := kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(c.Brokers...), kgo.ConsumePartitions(offsets), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.FetchMaxWait(250 * time.Millisecond), kgo.FetchMaxPartitionBytes(64 << 10),
	}, c.KafkaOptions...)...)
	if err != nil {
		return nil, fmt.Errorf("make a Kafka client: %w", err)
	}
	defer client.Close()
	found := make(map[place]time.Time)
	for len(found) < len(round) {
		fetches := client.PollFetches(ctx)
		fetches.EachPartition(func(p kgo.FetchTopicPartition) {
			at := place{p.Topic, p.Partition}
			if _, ok := found[at]; !ok && len(p.Records) > 0 {
				found[at] = p.Records[0].Timestamp
				client.PauseFetchPartitions(map[string][]int32{at.topic: {at.partition}})
			}
		})
		if ctx.Err() != nil {
			return found, nil
		}
		for _, e := range fetches.Errors() {
			if !errors.Is(e.Err, context.DeadlineExceeded) {
				return nil, fmt.Errorf("read %s/%d: %w", e.Topic, e.Partition, e.Err)
			}
		}
	}
	return found, nil
}
