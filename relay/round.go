package relay

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// rounds sends what is queued, up to mostRound of it, then waits for all the answers, then
// sends what is left and has come meanwhile.
//
// The client could have more on its way, but when the broker refuses a batch for
// good, the client gives up everything of that partition and takes what is
// produced next as if nothing had been: it would land before what was refused.
// Here nothing is produced until it is known that nothing was refused, and a
// round is handed over whole before any of it goes out (kgo.ManualFlushing). It
// costs little: what waits makes the next batches larger.
type rounds struct {
	queue   []*ticket
	spare   []*ticket // the other half of the pair that is swapped
	bytes   int       // queued since the last round began
	spacing spacing
	running bool
	failed  bool // nothing goes out before Reset
}

// enqueue sends the ticket with the next round. The lock is held.
func (k *KafkaSink) enqueue(t *ticket) {
	k.rounds.queue = append(k.rounds.queue, t)
	k.rounds.bytes += t.size()
	k.named = k.named || t.record.Partition >= 0
	if !k.rounds.running && !k.rounds.failed {
		k.rounds.running = true
		client := k.client
		k.drivers.Go(func() { k.drive(client) })
	}
}

// drive sends rounds until there is nothing to send, or something was refused, or
// the client is not the one in use any more.
func (k *KafkaSink) drive(client *kgo.Client) {
	for {
		k.admit(client)
		next, wait := k.take(client)
		if wait > 0 {
			time.Sleep(wait) // so short that nobody who closes the sink minds
			continue
		}
		if len(next) == 0 {
			return
		}
		begun := time.Now()
		for _, t := range next {
			client.Produce(t.Context, &t.kafka, promise)
		}
		// It returns when each record's promise has been called. Closing the client
		// ends it.
		_ = client.Flush(context.Background())
		k.took(client, time.Since(begun))
	}
}

func (k *KafkaSink) took(client *kgo.Client, d time.Duration) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if client == k.client {
		k.rounds.spacing.took(d)
	}
}

// Gather implements Gatherer.
func (k *KafkaSink) Gather(on bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.gather = on
}

// take composes a round: what is queued, up to mostRound, but of a topic on trial only one
// record, and none of a topic that was not looked for (see admit). With a wait there is none
// yet.
func (k *KafkaSink) take(client *kgo.Client) (next []*ticket, wait time.Duration) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if client != k.client {
		return nil, 0 // Reset has made a new beginning
	}
	r := &k.rounds
	if r.failed || len(r.queue) == 0 {
		r.running = false
		return nil, 0
	}
	now := time.Now()
	gathers := k.gather && r.bytes < gatherBytes && len(k.solos) == 0 // a topic on trial has one record a round
	if wait := r.spacing.wait(now, len(r.queue), gathers); wait > 0 {
		return nil, wait
	}
	r.spacing.begin(now)
	r.bytes = 0
	certain := min(k.certain(r.queue), k.together(now, r.queue), mostRound)
	if len(k.solos) == 0 && certain == len(r.queue) && !k.strange {
		r.queue, r.spare = r.spare[:0], r.queue
		return r.spare, 0
	}
	rest := r.queue[:0]
	next = r.spare[:0]
	tried := make(map[string]bool)
	for i, t := range r.queue {
		topic := t.record.Topic
		onTrial := k.solos[topic] != nil
		if i >= certain || onTrial && tried[topic] || k.strange && !k.topics[topic] {
			rest = append(rest, t)
			continue
		}
		// Only now: the trial may be over when the rest goes out.
		t.alone, tried[topic] = onTrial, true
		next = append(next, t)
	}
	r.queue, r.spare = rest, next
	if len(next) == 0 {
		return nil, time.Nanosecond // all of it has come since topics were looked for
	}
	return next, 0
}

// renewAfter is how old a client may become. The broker forgets a producer that has sent
// nothing to a partition for producer.id.expiration.ms, a day by default, and then takes
// whatever comes first: also what was on its way behind a batch that it refused.
const renewAfter = time.Hour

// retire gives up a client that is that old, if nothing of it is on its way. The lock is
// held.
func (k *KafkaSink) retire() {
	if k.client == nil || k.rounds.running || len(k.rounds.queue) > 0 || time.Since(k.made) < k.renewAfter {
		return
	}
	k.drivers.Go(k.client.Close)
	k.client = nil
	clear(k.partitions)
}

// together returns how many of the queued tickets may go out in one round. Of a client
// that has become too old it is no more of a topic than one batch holds, so that nothing
// is on its way behind a batch. The lock is held.
func (k *KafkaSink) together(now time.Time, queue []*ticket) int {
	if now.Sub(k.made) < k.renewAfter {
		return len(queue)
	}
	bytes := map[string]int{}
	for i, t := range queue {
		topic := t.record.Topic
		if bytes[topic] += t.size(); bytes[topic] > k.mostOf(k.limits, topic) && i > 0 {
			return i
		}
	}
	return len(queue)
}
