package relay

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/gapless/gapless/relay/format"
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

// limits are what topics take that take less than KafkaConfig.MaxRecordBytes, in bytes of a
// record and of a batch: a batch of small records is refused by the same rule.
//
// Those of a client stay what they are while it lives. It gives up a record that is above
// them by itself, and takes the smaller one behind it: what the sink lets through and what
// the client takes must be the same.
type limits map[string]int

// mostOf is the limit of the topic.
func (k *KafkaSink) mostOf(l limits, topic string) int {
	if n, ok := l[topic]; ok {
		return n
	}
	return int(k.cfg.MaxRecordBytes)
}

func tooLargeFor(limit, size int) *format.Fault {
	return &format.Fault{Reason: format.TooLarge, Detail: fmt.Sprintf("record of about %d bytes, the limit is %d", size, limit)}
}

// learn finds a topic's own limit after the broker refused a batch, for the next client.
func (k *KafkaSink) learn(ctx context.Context, admin *kadm.Client, topic string) {
	found, err := boundsOf(ctx, admin, topic)
	limit := found[topic].maxBytes
	k.mu.Lock()
	defer k.mu.Unlock()
	if refused := k.mostOf(k.limits, topic); err != nil || limit == 0 || limit >= refused {
		limit = refused / 2 // where the broker will not say, find it by halving
	}
	k.learned[topic], k.reported[topic] = limit, found[topic].maxBytes
	k.log.Warn("topic takes smaller records than configured", "topic", topic, "max_bytes", limit)
}

// minBatch is the least that the client can be told.
const minBatch = 512

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
// refusals. New limits are for the client that the next Reset makes room for.
func (k *KafkaSink) Relearn(ctx context.Context) (changed bool, err error) {
	k.mu.Lock()
	topics := make([]string, 0, len(k.learned)+len(k.spans))
	for t := range k.learned {
		topics = append(topics, t)
	}
	for t := range k.spans {
		if _, twice := k.learned[t]; !twice {
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
	for topic, b := range found {
		// A broker that takes less than it says has not changed its mind.
		if limit, ok := k.learned[topic]; ok && b.maxBytes > limit && b.maxBytes != k.reported[topic] {
			changed = true
			k.reported[topic] = b.maxBytes
			if k.learned[topic] = b.maxBytes; b.maxBytes >= int(k.cfg.MaxRecordBytes) {
				delete(k.learned, topic)
			}
		}
		if s, ok := k.spans[topic]; ok && *s != b.span {
			changed = true
			k.spans[topic] = &b.span
		}
	}
	return changed, nil
}
