package relay

import (
	"context"
	"time"
)

// controlEvery is how often an operator's wish is asked for.
const controlEvery = time.Second

// wish is what operators want of the relays of a slot.
type wish struct {
	Paused    bool   `db:"paused"`
	Why       string `db:"why"`
	Requested bool   `db:"requested"` // requests for parked rows are open
	Awaited   bool   `db:"awaited"`   // somebody waits for the record to pass a position
}

// control asks what operators want. A paused stream reads nothing, so that nothing new
// is sent; what is in flight is acknowledged and stored, the slot stays ours, and the
// server goes on getting its status updates.
func (s *session) control(ctx context.Context) {
	w, err := s.r.remembered().control(ctx)
	s.inbox.result(func() {
		s.worker.busy = false
		if err != nil {
			s.failed(err)
			return
		}
		s.obey(w)
	})
}

func (s *session) obey(w wish) {
	s.pause(w.Paused, w.Why)
	s.redrive.asked = w.Requested
	if w.Awaited {
		s.machine.Record()
	}
}

func (s *session) pause(paused bool, why string) {
	if paused == s.paused {
		return
	}
	s.paused = paused
	s.quiet.Store(paused)
	if !paused && s.signals.ahead {
		s.worker.fatal = errResumed
	}
	if paused {
		s.signals.next = s.machine.Next()
		s.r.metrics.paused.Set(1)
		s.r.board.become(Paused, why)
		s.r.log.Warn("paused", "by", why)
		return
	}
	s.r.metrics.paused.Set(0)
	s.r.board.become(Streaming, "")
	s.r.log.Info("resumed")
}
