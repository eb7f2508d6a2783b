package relay

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/gapless/gapless/relay/format"
)

const (
	firstStretch = 1000 // records of a partition; each is twice as long as the one behind it
	longStretch  = 16_000
	// standstill is how long a stretch is waited for. Its last records may be such as no
	// consumer gets; a broker that throttles is silent for a while, too.
	standstill = time.Minute
)

// Recall implements Recaller. It reads what is committed: of a transaction that is open or
// was aborted nothing counts, since it may never be seen.
func (k *KafkaSink) Recall(ctx context.Context, topics []string, take func(*format.Record), more func(topic string, partition int32) bool) error {
	client, err := k.consumer()
	if err != nil {
		return err
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	starts, err := offsets(ctx, admin.ListStartOffsets, topics)
	if err != nil {
		return err
	}
	ends, err := offsets(ctx, admin.ListCommittedOffsets, topics)
	if err != nil {
		return err
	}
	for length := int64(firstStretch); ; length = min(2*length, longStretch) {
		from := map[string]map[int32]kgo.Offset{}
		until := map[topicPartition]int64{}
		for at, end := range ends {
			if end <= starts[at] {
				delete(ends, at)
				continue
			}
			ends[at] = max(starts[at], end-length)
			until[at] = end
			if from[at.topic] == nil {
				from[at.topic] = map[int32]kgo.Offset{}
			}
			from[at.topic][at.partition] = kgo.NewOffset().At(ends[at])
		}
		if len(until) == 0 {
			return nil
		}
		read := maps.Clone(until)
		if err := k.stretches(ctx, from, until, take); err != nil {
			return err
		}
		for at := range read {
			if !more(at.topic, at.partition) {
				delete(ends, at)
			}
		}
	}
}

func (k *KafkaSink) consumer(opts ...kgo.Opt) (*kgo.Client, error) {
	// Markers of transactions are kept, because the last of a partition may be one.
	all := []kgo.Opt{kgo.ClientID("gapless-relay"), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords()}
	if len(k.cfg.Brokers) > 0 {
		all = append(all, kgo.SeedBrokers(k.cfg.Brokers...))
	}
	client, err := kgo.NewClient(append(append(all, k.cfg.Options...), opts...)...)
	if err != nil {
		return nil, fmt.Errorf("make kafka client: %w", err)
	}
	return client, nil
}

// offsets leaves out topics that are not there.
func offsets(ctx context.Context, list func(context.Context, ...string) (kadm.ListedOffsets, error), topics []string) (map[topicPartition]int64, error) {
	listed, err := list(ctx, topics...)
	if err != nil {
		return nil, err
	}
	all := map[topicPartition]int64{}
	listed.Each(func(o kadm.ListedOffset) {
		switch {
		case errors.Is(o.Err, kerr.UnknownTopicOrPartition):
		case o.Err != nil:
			err = unreadable(o.Topic, o.Err)
		default:
			all[topicPartition{o.Topic, o.Partition}] = o.Offset
		}
	})
	return all, err
}

func unreadable(topic string, err error) error {
	if errors.Is(err, kerr.TopicAuthorizationFailed) {
		return refuse("Grant the relay's Kafka user READ on it, or start without taking over.", "topic %s may not be read, so it does not tell what was sent", topic)
	}
	return fmt.Errorf("topic %s: %w", topic, err)
}

// stretches reads each partition up to where it is to be read.
func (k *KafkaSink) stretches(ctx context.Context, from map[string]map[int32]kgo.Offset, until map[topicPartition]int64, take func(*format.Record)) error {
	client, err := k.consumer(kgo.ConsumePartitions(from))
	if err != nil {
		return err
	}
	defer client.Close()
	var record format.Record
	for len(until) > 0 {
		waiting, done := context.WithTimeout(ctx, standstill)
		fetches := client.PollFetches(waiting)
		still := waiting.Err() != nil && ctx.Err() == nil
		done()
		if err := ctx.Err(); err != nil {
			return err
		}
		if still {
			if err := client.Ping(ctx); err != nil {
				return err
			}
			k.log.WarnContext(ctx, "the end of a partition gives nothing to read", "partitions", len(until))
			return nil
		}
		for _, e := range fetches.Errors() {
			return unreadable(e.Topic, e.Err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			at := topicPartition{r.Topic, r.Partition}
			end, ok := until[at]
			if !ok {
				return
			}
			if r.Offset < end && !r.Attrs.IsControl() {
				recalledRecord(r, &record)
				take(&record)
			}
			if r.Offset >= end-1 {
				delete(until, at)
			}
		})
	}
	return nil
}

func recalledRecord(r *kgo.Record, out *format.Record) {
	*out = format.Record{Topic: r.Topic, Partition: r.Partition, Key: r.Key, Value: r.Value, Headers: r.Headers, Timestamp: r.Timestamp}
}
