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
	left  int       // records to go
	queue []*ticket // behind the one that is out
	out   bool
}

// recordRefused tells whether the broker refused a batch for a record in it.
// The client does not try again then, and trying again would not help.
func recordRefused(err error) bool {
	return errors.Is(err, kerr.InvalidTimestamp) || errors.Is(err, kerr.InvalidRecord)
}

// suspect begins a trial of the topic.
func (k *KafkaSink) suspect(topic string, cause error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.solos[topic] = &solo{left: trial}
	k.log.Warn("batch refused for one of its records, sending one by one to find it", "topic", topic, "reason", cause)
}

// alone takes t over where its topic is on trial. queued tells that its turn
// comes later; else it is to be sent now.
func (k *KafkaSink) alone(t *ticket) (queued bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	s := k.solos[t.record.Topic]
	t.alone = s != nil
	if s == nil {
		return false
	}
	if s.out {
		s.queue = append(s.queue, t)
		return true
	}
	s.out = true
	return false
}

// soloDone judges the record that was out alone, and sends the next. After an
// error none is sent: the relay is about to call Reset.
func (k *KafkaSink) soloDone(t *ticket, cause error) *format.Fault {
	k.mu.Lock()
	defer k.mu.Unlock()
	if recordRefused(cause) {
		return &format.Fault{Reason: format.Refused, Detail: cause.Error()}
	}
	s := k.solos[t.record.Topic]
	if s == nil || cause != nil || k.client == nil {
		return nil
	}
	s.out = false
	s.left--
	n := min(len(s.queue), 1)
	if s.left <= 0 {
		n = len(s.queue) // the trial is over, together again
		delete(k.solos, t.record.Topic)
	}
	for _, next := range s.queue[:n] {
		// Under the lock, so that no Send comes between. Produce only buffers.
		next.alone = s.left > 0
		k.client.Produce(next.Context, &next.kafka, promise)
	}
	s.queue, s.out = s.queue[n:], n > 0
	return nil
}

func (k *KafkaSink) spanKnown(topic string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	_, ok := k.spans[topic]
	return ok
}

// forgetQueues drops what waits for its turn; trials go on.
func (k *KafkaSink) forgetQueues() {
	for _, s := range k.solos {
		s.queue, s.out = nil, false
	}
}
