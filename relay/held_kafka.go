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
	return errors.Is(err, kerr.UnknownTopicOrPartition) || errors.Is(err, kerr.TopicAuthorizationFailed)
}

// AwaitHeld implements Holder.
func (k *KafkaSink) AwaitHeld(ctx context.Context) error {
	client, err := kgo.NewClient(k.options()...)
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
		}
	}
}
