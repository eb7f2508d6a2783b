package relay

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/gapless/gapless/sql"
)

const (
	// tellEvery is how often a relay looks whether others are to be told something new.
	tellEvery = time.Second
	// lateAfter is how old the oldest event is that is worth a write.
	lateAfter = 5 * time.Second
)

// told is what a relay lets others know through its state of what it alone knows.
type told struct {
	incarnation int64
	state       State
	reason      string
	held        int
	topics      []string
	oldest      time.Time // commit of the oldest event that is not acknowledged; zero while that is not late
}

func (t told) same(o told) bool {
	return t.incarnation == o.incarnation && t.state == o.state && t.reason == o.reason && t.held == o.held && t.oldest.Equal(o.oldest) && slices.Equal(t.topics, o.topics)
}

// tell stores what is new since last and returns what is stored. A relay that has not had
// the slot, or has lost it since, stores nothing.
func (r *Relay) tell(ctx context.Context, last told) (told, error) {
	s := r.Status()
	now := told{incarnation: r.incarnation.Load(), state: s.State, reason: s.Reason, held: s.Held, topics: s.HeldTopics}
	if time.Since(s.oldest) >= lateAfter {
		now.oldest = s.oldest // zero where there is none
	}
	if now.incarnation == 0 || s.State == Standby || now.same(last) {
		return last, nil
	}
	if err := r.remembered().tell(ctx, now); err != nil {
		return last, err
	}
	return now, nil
}

func (t told) oldestAt() *time.Time {
	if t.oldest.IsZero() {
		return nil
	}
	return &t.oldest
}

func (s *store) tell(ctx context.Context, t told) error {
	topics := t.topics
	if topics == nil {
		topics = []string{} // not null
	}
	if err := s.exec(ctx, sql.RelayTell, s.slot, t.incarnation, string(t.state), t.reason, t.held, topics, t.oldestAt()); err != nil {
		return fmt.Errorf("store status: %w", err)
	}
	return nil
}
