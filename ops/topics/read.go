package topics

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Read gives take every committed record of c.Topics up to the ends that they have when
// it is called, each partition in its order. progress, which may be nil, is told how many
// of how many were read; where a topic is compacted there are fewer than it says.
func Read(ctx context.Context, c Config, take func(*kgo.Record), progress func(read, total int64)) error {
	client, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(c.Brokers...)}, c.KafkaOptions...)...)
	if err != nil {
		return fmt.Errorf("make kafka client: %w", err)
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	starts, err := admin.ListStartOffsets(ctx, c.Topics...)
	if err == nil {
		err = starts.Error()
	}
	if err != nil {
		return fmt.Errorf("look for the topics: %w", err)
	}
	ends, err := admin.ListCommittedOffsets(ctx, c.Topics...)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return fmt.Errorf("look for the ends of the topics: %w", err)
	}
	type place struct {
		topic     string
		partition int32
	}
	from := map[string]map[int32]kgo.Offset{}
	until := map[place]int64{}
	var read, total int64
	ends.Each(func(end kadm.ListedOffset) {
		start, _ := starts.Lookup(end.Topic, end.Partition)
		if end.Offset <= start.Offset {
			return
		}
		total += end.Offset - start.Offset
		until[place{end.Topic, end.Partition}] = end.Offset
		if from[end.Topic] == nil {
			from[end.Topic] = map[int32]kgo.Offset{}
		}
		from[end.Topic][end.Partition] = kgo.NewOffset().At(start.Offset)
	})
	if len(until) == 0 {
		return nil
	}
	// Markers of transactions are kept, because the last of a topic may be one.
	reader, err := kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(c.Brokers...), kgo.ConsumePartitions(from), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords(),
	}, c.KafkaOptions...)...)
	if err != nil {
		return fmt.Errorf("make kafka client: %w", err)
	}
	defer reader.Close()
	for len(until) > 0 {
		fetches := reader.PollFetches(ctx)
		if err := ctx.Err(); err != nil {
			return err
		}
		for _, e := range fetches.Errors() {
			return fmt.Errorf("read %s/%d: %w", e.Topic, e.Partition, e.Err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			where := place{r.Topic, r.Partition}
			end, ok := until[where]
			if !ok || r.Offset >= end {
				return
			}
			read++
			if !r.Attrs.IsControl() {
				take(r)
			}
			if r.Offset == end-1 {
				delete(until, where)
			}
		})
		if progress != nil {
			progress(read, total)
		}
	}
	return nil
}
