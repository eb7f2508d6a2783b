package kafkastate

import (
	"context"
	"errors"
	"time"
)

// Ask writes a request for parked rows and returns its id. The relay that has the slot
// takes it up within a second or so.
func (l *Log) Ask(ctx context.Context, r Request) (int64, error) {
	r.At = time.Now().UTC()
	if err := l.View(func(s *Slot) { r.ID = s.NextRequest(r.At) }); err != nil {
		return 0, err
	}
	return r.ID, l.Append(ctx, EntryOf(l.cfg.Slot, r))
}

// ErrNoRecord says that the topic knows nothing of the slot.
var ErrNoRecord = errors.New("the topic has no record of this slot")

// Forget lets the position and the proofs of the slot go: the next relay that starts
// begins where the slot is. A relay that runs is fenced by it. Parked rows stay.
func (l *Log) Forget(ctx context.Context, actor, reason string) error {
	if err := l.Fence(ctx); err != nil {
		return err
	}
	var p Progress
	found := false
	err := l.View(func(s *Slot) {
		if found = s.HasPosition(); found {
			p = *s.Progress
		}
	})
	switch {
	case err != nil:
		return err
	case !found:
		return ErrNoRecord
	}
	p.Incarnation++
	p.Forgotten, p.Actor, p.Reason, p.UpdatedAt = true, actor, reason, time.Now().UTC()
	return l.Write(ctx, p.Incarnation, EntryOf(l.cfg.Slot, p))
}
