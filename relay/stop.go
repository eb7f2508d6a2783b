package relay

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/gapless/gapless/internal/crashpoint"
)

// salvageTime bounds what is spent, after a stream broke, on storing what the
// sink still acknowledges: it saves repeats, it is not needed for safety.
const salvageTime = time.Second

// errStopTimeout says that the sink or the database did not answer in time.
var errStopTimeout = errors.New("stop timed out with records not stored")

// finish ends a stream in good order: intake has stopped; wait for what is in
// flight, store the last progress, tell the slot.
func (s *session) finish(ctx context.Context) error {
	crashpoint.Hit("relay.stopping")
	// The caller's context has ended; this is the farewell, with its own bound.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.r.cfg.StopTimeout)
	defer cancel()
	s.machine.Finish()
	s.redrive.asked = false
	for !s.machine.Settled() || s.worker.busy || s.redriving() {
		now := s.now()
		if err := s.takeInbox(now); err != nil {
			return err
		}
		if err := s.act(now); err != nil {
			return err
		}
		s.saves(now)
		if ctx.Err() != nil {
			s.worker.cancel() // the running job has had its time
			records, _ := s.machine.InFlight()
			return fmt.Errorf("%w: %d in flight", errStopTimeout, records)
		}
		s.inbox.wait(ctx, 1, 50*time.Millisecond)
	}
	s.r.log.InfoContext(ctx, "stream stopped", "resume", s.machine.Stored().Resume, "confirmed", s.machine.Confirmed())
	return nil
}

// salvage stores what is acknowledged within salvageTime after the stream
// broke. A zombie stores nothing.
func (s *session) salvage(ctx context.Context, cause error) {
	if errors.Is(cause, errFenced) || shuttingDown(cause) {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), salvageTime)
	defer cancel()
	s.machine.Finish()
	s.redrive.asked = false
	if errors.Is(cause, errResumed) || errors.Is(cause, errTopicBack) {
		s.worker.fatal = nil // nothing is wrong: what is stored now is not sent again
	}
	var sink *sinkError
	sinkBroke := errors.As(cause, &sink)
	for ctx.Err() == nil {
		records, _ := s.machine.InFlight()
		if (records == 0 || sinkBroke) && s.machine.Stored() == s.machine.Done() && !s.worker.busy {
			break
		}
		now := s.now()
		if err := s.takeInbox(now); err != nil && s.worker.fatal != nil {
			return
		}
		if e := s.machine.Step(now); e.Write {
			s.saving, s.events = s.events, 0
			s.worker.queueSave(s.save(e.Progress))
		}
		s.saves(now)
		s.inbox.wait(ctx, 1, 20*time.Millisecond)
	}
}
