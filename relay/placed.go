package relay

import (
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gapless/gapless/relay/format"
)

// placed sends a record to the partition that it names, and every other where the
// key says.
type placed struct {
	byKey kgo.Partitioner
	most  func(topic string) int // what hooks may make of a record; nil where there are none
}

func (p placed) ForTopic(topic string) kgo.TopicPartitioner {
	t := placedTopic{byKey: p.byKey.ForTopic(topic)}
	if p.most != nil {
		t.hooked = &afterHooks{most: p.most(topic)}
	}
	return t
}

type placedTopic struct {
	byKey  kgo.TopicPartitioner
	hooked *afterHooks // nil where there are no hooks
}

// afterHooks finds records of a topic that hooks have made too large. The client gives such
// a record up by itself and takes the one behind it, so nothing more of the topic goes to
// this client.
type afterHooks struct {
	most int
	shut bool
}

func (h *afterHooks) refuses(r *kgo.Record) bool {
	size := wireSize(r.Key, r.Value, r.Headers)
	if h.shut || size <= h.most {
		return h.shut
	}
	h.shut = true
	if t := ticketOf(r); t != nil {
		t.grown = tooLargeFor(h.most, size)
	}
	return true
}

func named(r *kgo.Record) (*ticket, bool) {
	t := ticketOf(r)
	return t, t != nil && t.record.Partition >= 0
}

// RequiresConsistency is part of kgo.TopicPartitioner.
func (p placedTopic) RequiresConsistency(r *kgo.Record) bool {
	_, ok := named(r)
	return ok || p.byKey.RequiresConsistency(r)
}

// Partition is part of kgo.TopicPartitioner. -1 makes the client give up the record
// at once.
func (p placedTopic) Partition(r *kgo.Record, n int) int {
	if p.hooked != nil && p.hooked.refuses(r) {
		return -1
	}
	t, ok := named(r)
	if !ok {
		return p.byKey.Partition(r, n)
	}
	t.sink.found(t.record.Topic, n)
	if int(t.record.Partition) >= n {
		t.misplaced = true
		return -1
	}
	return int(t.record.Partition)
}

// found notes how many partitions the client knows of.
func (k *KafkaSink) found(topic string, n int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.partitions[topic] = n
}

// certain returns how many of the queued tickets may go out together: up to the first
// that names a partition of which it is not known that it is there. That one goes
// alone, since what is behind it must wait when it is refused. The lock is held.
func (k *KafkaSink) certain(queue []*ticket) int {
	if !k.named {
		return len(queue)
	}
	for i, t := range queue {
		if p := t.record.Partition; p >= 0 && int(p) >= k.partitions[t.record.Topic] {
			return max(i, 1)
		}
	}
	return len(queue)
}

// OnNewBatch is part of kgo.TopicPartitionerOnNewBatch.
func (p placedTopic) OnNewBatch() {
	if b, ok := p.byKey.(kgo.TopicPartitionerOnNewBatch); ok {
		b.OnNewBatch()
	}
}

// counted is how many partitions a topic had.
type counted struct {
	partitions int
	at         time.Time
}

const (
	// countedFor is how long that holds. To find out by sending ends the stream, twice: rows
	// that name partitions at will must not do so one by one.
	countedFor = 2 * time.Millisecond
	// countTime bounds the look, during which nothing else is read or sent.
	countTime = 200 * time.Millisecond
)

// beyond refuses a record for a partition that is not there, of a topic of which another
// record has named such a one. Where nobody can tell the client finds out.
func (k *KafkaSink) beyond(client *kgo.Client, r *format.Record) *format.Fault {
	k.mu.Lock()
	c, ok := k.counted[r.Topic]
	k.mu.Unlock()
	if !ok || int(r.Partition) < c.partitions {
		return nil
	}
	if time.Since(c.at) > countedFor {
		ctx, cancel := context.WithTimeout(context.Background(), countTime)
		defer cancel()
		request := kmsg.NewPtrMetadataRequest() // kadm's answer may be of a moment ago
		topic := kmsg.NewMetadataRequestTopic()
		topic.Topic = &r.Topic
		request.Topics = append(request.Topics, topic)
		answer, err := request.RequestWith(ctx, client)
		if err != nil || len(answer.Topics) != 1 || answer.Topics[0].ErrorCode != 0 {
			return nil
		}
		c = k.count(r.Topic, len(answer.Topics[0].Partitions))
	}
	if int(r.Partition) < c.partitions {
		return nil
	}
	return &format.Fault{Reason: format.Refused, Detail: fmt.Sprintf("topic %s has %d partitions, and none with the number %d", r.Topic, c.partitions, r.Partition)}
}

func (k *KafkaSink) count(topic string, partitions int) counted {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.counted) > 1000 {
		clear(k.counted)
	}
	k.counted[topic] = counted{partitions, time.Now()}
	return k.counted[topic]
}

// astray judges a record whose topic has no such partition. The client may not have
// heard of new partitions yet, so that the first time counts as a failure of the
// sink, after which the client is a new one.
func (k *KafkaSink) astray(t *ticket, cause error) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.rounds.failed = true
	where := fmt.Sprintf("%s/%d", t.record.Topic, t.record.Partition)
	if k.doubted == where {
		k.doubted = "" // it may be there by the next time
		k.counted[t.record.Topic] = counted{partitions: k.partitions[t.record.Topic]}
		return &format.Fault{Reason: format.Refused, Detail: cause.Error()}
	}
	k.doubted = where
	k.ailing[t.record.Topic] = cause
	return fmt.Errorf("produce to %s: %w", where, cause)
}
