package relay

import (
	"context"
	"sync"
	"time"

	"github.com/gapless/gapless/relay/format"
)

type ack struct {
	record *format.Record
	err    error
	at     time.Time // when it came, not when it is looked at
}

// inbox brings to the relay's goroutine what others have for it:
// acknowledgements of the sink and outcomes of jobs. Adding to it wakes the
// goroutine only while that waits here, not while it waits for the server.
type inbox struct {
	mu      sync.Mutex
	acks    []ack
	results []func()
	wakeAt  int // acknowledgements worth waking for; 0 while nobody waits
	notify  chan struct{}

	spareAcks    []ack // the other half of the pair that is swapped
	spareResults []func()
}

func newInbox() *inbox { return &inbox{notify: make(chan struct{}, 1)} }

func (i *inbox) ack(r *format.Record, err error) {
	now := time.Now()
	i.mu.Lock()
	i.acks = append(i.acks, ack{r, err, now})
	wake := i.wakeAt > 0 && len(i.acks) >= i.wakeAt
	if wake {
		i.wakeAt = 0
	}
	i.mu.Unlock()
	if wake {
		i.wake()
	}
}

func (i *inbox) result(f func()) {
	i.mu.Lock()
	i.results = append(i.results, f)
	i.mu.Unlock()
	i.wake()
}

func (i *inbox) wake() {
	select {
	case i.notify <- struct{}{}:
	default:
	}
}

// take returns what has come. The slices are valid until the next take.
func (i *inbox) take() ([]ack, []func()) {
	i.mu.Lock()
	defer i.mu.Unlock()
	acks, results := i.acks, i.results
	i.acks, i.spareAcks = i.spareAcks[:0], acks
	i.results, i.spareResults = i.spareResults[:0], results
	return acks, results
}

// wait returns when acks acknowledgements or a result are there, when d has
// passed, or when ctx ends. To wake for each acknowledgement would let in one
// record at a time.
func (i *inbox) wait(ctx context.Context, acks int, d time.Duration) {
	i.mu.Lock()
	there := len(i.acks) >= acks || len(i.results) > 0
	if !there {
		i.wakeAt = acks
	}
	i.mu.Unlock()
	if there {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-i.notify:
	case <-t.C:
	case <-ctx.Done():
	}
}
