package relay

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// concernsTopic recognises what keeps a whole topic from being written, and passes
// when somebody makes the topic or grants the right.
func concernsTopic(err error) bool {
	return errors.Is(err, kerr.UnknownTopicOrPartition) || errors.Is(err, kerr.UnknownTopicID) || errors.Is(err, kerr.TopicAuthorizationFailed) || errors.Is(err, errMayNotWrite)
}

func (k *KafkaSink) hold(topic string, cause error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.held[topic] = cause
}

var errMayNotWrite = errors.New("not authorized to write")

// admit looks for the topics that a first record is about to go to, and gives back what is
// queued for one that takes nothing. The client would try for a second, in which nothing
// else goes out, and give up so that the stream has to begin again: a writer that makes up
// names would slow every key.
func (k *KafkaSink) admit(client *kgo.Client) {
	topics := k.strangers()
	if len(topics) == 0 {
		return
	}
	var faults map[string]error
	for pause := 50 * time.Millisecond; ; pause = min(2*pause, 500*time.Millisecond) {
		var err error
		if faults, err = topicErrors(context.Background(), kadm.NewClient(client), topics...); err == nil {
			break
		}
		if !k.uses(client) {
			return // Reset has made a new beginning, or Close an end
		}
		time.Sleep(jitter(pause)) // so short that nobody who closes the sink minds
	}
	held := k.setApart(client, topics, faults)
	for _, t := range held {
		t.ack(t.record, &HeldError{Topic: t.record.Topic, Cause: errors.Unwrap(faults[t.record.Topic])})
	}
}

func (k *KafkaSink) uses(client *kgo.Client) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return client == k.client
}

// strangers are the topics in the queue that have not been found yet.
func (k *KafkaSink) strangers() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.strange {
		return nil
	}
	k.strange = false
	strange := map[string]bool{}
	for _, t := range k.rounds.queue {
		if !k.topics[t.record.Topic] {
			strange[t.record.Topic] = true
		}
	}
	return slices.Collect(maps.Keys(strange))
}

// setApart notes which of the topics are there, holds those that take nothing, and takes what
// is for these out of the queue. What else may be wrong with a topic is the round's to
// find out.
func (k *KafkaSink) setApart(client *kgo.Client, topics []string, faults map[string]error) (held []*ticket) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if client != k.client {
		return nil // Reset has made a new beginning
	}
	away := false
	for _, topic := range topics {
		switch fault := faults[topic]; {
		case concernsTopic(fault):
			k.held[topic] = errors.Unwrap(fault)
			away = true
		default:
			k.topics[topic] = true
		}
	}
	if !away {
		return nil
	}
	rest := k.rounds.queue[:0]
	for _, t := range k.rounds.queue {
		if faults[t.record.Topic] != nil && k.held[t.record.Topic] != nil {
			held = append(held, t)
		} else {
			rest = append(rest, t)
		}
	}
	k.rounds.queue = rest
	return held
}

// AwaitHeld implements Holder.
func (k *KafkaSink) AwaitHeld(ctx context.Context) error {
	client, err := k.beside()
	if err != nil {
		return err
	}
	defer client.Close()
	for pause := 100 * time.Millisecond; ; pause = min(2*pause, 5*time.Second) {
		if !sleep(ctx, jitter(pause)) {
			return ctx.Err()
		}
		topics := k.heldTopics()
		if faults, err := topicErrors(ctx, kadm.NewClient(client), topics...); err == nil && len(faults) < len(topics) {
			return nil
		}
	}
}

func (k *KafkaSink) heldTopics() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Collect(maps.Keys(k.held))
}

// release lets topics go that look writable. Nothing of them is on its way: the relay
// begins again from before what was held.
func (k *KafkaSink) release(ctx context.Context, admin *kadm.Client) {
	topics := k.heldTopics()
	if len(topics) == 0 {
		return // to ask for none would be to ask for all
	}
	faults, err := topicErrors(ctx, admin, topics...)
	if err != nil {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, topic := range topics {
		if faults[topic] == nil {
			delete(k.held, topic)
			k.topics[topic] = true // another broker may not know it yet: the client tries for a while
		}
	}
}
