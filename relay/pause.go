package relay

import (
	"context"
	"time"
)

// controlEvery is how often an operator's wish is asked for.
const controlEvery = time.Second

// control asks whether to pause. A paused stream reads nothing, so that nothing new
// is sent; what is in flight is acknowledged and stored, the slot stays ours, and the
// server goes on getting its status updates.
func (s *session) control(ctx context.Context) {
	paused, why, err := s.r.store.control(ctx)
	s.inbox.result(func() {
		s.worker.busy = false
		if err != nil {
			s.failed(err)
			return
		}
		s.pause(paused, why)
	})
}

func (s *session) pause(paused bool, why string) {
	if paused == s.paused {
		return
	}
	s.paused = paused
	if paused {
		s.r.metrics.paused.Set(1)
		s.r.board.become(Paused, why)
		s.r.log.Warn("paused", "by", why)
		return
	}
	s.r.metrics.paused.Set(0)
	s.r.board.become(Streaming, "")
	s.r.log.Info("resumed")
}
