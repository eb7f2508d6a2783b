package relay

import (
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/gapless/gapless/relay/format"
)

// Beat implements Beater, with a client of its own: what that one waits for, or gives
// up, concerns no event.
func (k *KafkaSink) Beat(ctx context.Context, r *format.Record) error {
	client, err := k.beating()
	if err != nil {
		return err
	}
	beat := &kgo.Record{Topic: r.Topic, Partition: r.Partition, Key: r.Key, Value: r.Value, Timestamp: r.Timestamp}
	if err := client.ProduceSync(ctx, beat).FirstErr(); err != nil {
		return fmt.Errorf("produce to %s: %w", r.Topic, err)
	}
	return nil
}

func (k *KafkaSink) beating() (*kgo.Client, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.beats != nil {
		return k.beats, nil
	}
	opts := []kgo.Opt{kgo.ClientID("gapless-relay")}
	if len(k.cfg.Brokers) > 0 {
		opts = append(opts, kgo.SeedBrokers(k.cfg.Brokers...))
	}
	opts = append(append(opts, k.cfg.Options...),
		kgo.RecordPartitioner(kgo.ManualPartitioner()),
		// A record of an idempotent producer that is on its way cannot be given up.
		kgo.DisableIdempotentWrite(), kgo.RecordDeliveryTimeout(beatTimeout),
		kgo.MetadataMinAge(250*time.Millisecond), kgo.UnknownTopicRetries(1),
	)
	client, err := kgo.NewClient(opts...)
	if err != nil {
		return nil, fmt.Errorf("make kafka client: %w", err)
	}
	k.beats = client
	return client, nil
}
