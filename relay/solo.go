package relay

import (
	"errors"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/gapless/gapless/relay/format"
)

// trial is how many records of a topic go out one by one after the broker
// refused a batch for what one of its records is. Where more than that are in
// flight the next refusal begins another trial, further on.
const trial = 4096

// solo sends a topic's records one by one, to find the one that the broker
// refuses: for a batch it does not say which it was.
type solo struct {
	left int // records to go
}

// recordRefused tells whether the broker refused a batch for a record in it.
// The client does not try again then, and trying again would not help.
func recordRefused(err error) bool {
	return errors.Is(err, kerr.InvalidTimestamp) || errors.Is(err, kerr.InvalidRecord) ||
		errors.Is(err, kerr.InvalidTopicException) // one of the broker's own
}

// suspect begins a trial of the topic.
func (k *KafkaSink) suspect(topic string, cause error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.solos[topic] = &solo{left: trial}
	k.log.Warn("batch refused for one of its records, sending one by one to find it", "topic", topic, "reason", cause)
}

// soloDone judges the record that was out alone.
func (k *KafkaSink) soloDone(t *ticket, cause error) *format.Fault {
	k.mu.Lock()
	defer k.mu.Unlock()
	if recordRefused(cause) {
		k.rounds.failed = true
		return &format.Fault{Reason: format.Refused, Detail: cause.Error()}
	}
	if s := k.solos[t.record.Topic]; s != nil && cause == nil {
		if s.left--; s.left <= 0 {
			delete(k.solos, t.record.Topic) // the trial is over, together again
		}
	}
	return nil
}

func (k *KafkaSink) spanKnown(topic string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	_, ok := k.spans[topic]
	return ok
}
