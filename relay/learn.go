package relay

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
)

// bounds are what a topic takes, as its configuration says.
type bounds struct {
	maxBytes int // 0 where the broker does not say
	span     span
}

const learnTimeout = 10 * time.Second

// boundsOf asks for the topics' configuration. A topic whose configuration may not
// be read has what Kafka has by default.
func boundsOf(ctx context.Context, admin *kadm.Client, topics ...string) (map[string]bounds, error) {
	ctx, cancel := context.WithTimeout(ctx, learnTimeout)
	defer cancel()
	configs, err := admin.DescribeTopicConfigs(ctx, topics...)
	if err != nil {
		return nil, fmt.Errorf("describe topics: %w", err)
	}
	found := make(map[string]bounds, len(configs))
	for _, c := range configs {
		b := bounds{span: defaultSpan}
		for _, v := range c.Configs {
			n, err := strconv.ParseInt(v.MaybeValue(), 10, 64)
			if err != nil {
				continue
			}
			switch v.Key {
			case "max.message.bytes":
				b.maxBytes = int(n)
			case "message.timestamp.before.max.ms":
				b.span.before = milliseconds(n)
			case "message.timestamp.after.max.ms":
				b.span.after = milliseconds(n)
			}
		}
		found[c.Name] = b
	}
	return found, nil
}

func milliseconds(n int64) time.Duration {
	if n >= int64(maxSpan/time.Millisecond) {
		return maxSpan
	}
	return time.Duration(n) * time.Millisecond
}

// learn finds a topic's own limit after the broker refused a batch. It bounds
// batches too: a batch of small records is refused by the same rule.
func (k *KafkaSink) learn(ctx context.Context, admin *kadm.Client, topic string) {
	found, err := boundsOf(ctx, admin, topic)
	limit := found[topic].maxBytes
	k.mu.Lock()
	defer k.mu.Unlock()
	if err != nil || limit == 0 || limit >= int(k.batch) {
		limit = int(k.batch) / 2 // where the broker will not say, find it by halving
	}
	k.limits[topic], k.reported[topic] = limit, found[topic].maxBytes
	k.batch = int32(min(int(k.batch), max(limit, minBatch)))
	k.log.Warn("topic takes smaller records than configured", "topic", topic, "max_bytes", limit)
}

// minBatch keeps one topic from making the batches of all others tiny.
const minBatch = 1024

// learnSpan asks for a topic's span after the broker refused a batch by it.
func (k *KafkaSink) learnSpan(ctx context.Context, admin *kadm.Client, topic string) {
	found, err := boundsOf(ctx, admin, topic)
	b, ok := found[topic]
	if err != nil || !ok {
		b.span = defaultSpan
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.spans[topic] = &b.span
	k.log.Warn("topic bounds timestamps, rows outside are parked", "topic", topic, "before", b.span.before, "after", b.span.after)
}

// Relearn implements Learner: it asks again for the bounds that were learned by
// refusals.
func (k *KafkaSink) Relearn(ctx context.Context) (changed bool, err error) {
	k.mu.Lock()
	topics := make([]string, 0, len(k.limits)+len(k.spans))
	for t := range k.limits {
		topics = append(topics, t)
	}
	for t := range k.spans {
		if _, twice := k.limits[t]; !twice {
			topics = append(topics, t)
		}
	}
	k.mu.Unlock()
	if len(topics) == 0 {
		return false, nil
	}
	client, err := k.beside()
	if err != nil {
		return false, fmt.Errorf("make kafka client: %w", err)
	}
	defer client.Close()
	found, err := boundsOf(ctx, kadm.NewClient(client), topics...)
	if err != nil {
		return false, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	batch := k.cfg.MaxRecordBytes
	for topic, b := range found {
		// A broker that takes less than it says has not changed its mind.
		if limit, ok := k.limits[topic]; ok && b.maxBytes > limit && b.maxBytes != k.reported[topic] {
			changed = true
			k.reported[topic] = b.maxBytes
			if k.limits[topic] = b.maxBytes; b.maxBytes >= int(k.cfg.MaxRecordBytes) {
				delete(k.limits, topic)
			}
		}
		if s, ok := k.spans[topic]; ok && *s != b.span {
			changed = true
			k.spans[topic] = &b.span
		}
	}
	for _, limit := range k.limits {
		batch = int32(min(int(batch), max(limit, minBatch)))
	}
	k.batch = batch
	return changed, nil
}
