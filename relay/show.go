package relay

import (
	"context"
	"fmt"
	"time"

	"github.com/gapless/gapless/relay/format"
)

// showEvery is how often the status board and the gauges are brought up to date.
const showEvery = 200 * time.Millisecond

// show updates what others see, and finds out whether the sink has fallen
// silent.
func (s *session) show(ctx context.Context, now time.Duration) {
	s.turnAt = now
	if now-s.lastShown < showEvery && s.lastShown != 0 {
		return
	}
	s.lastShown = now
	s.publish()
	records, _ := s.machine.InFlight()
	silent := now - max(s.lastAck, s.busySince(records, now))
	held := s.heldWhy()
	isFull := held != "" && s.machine.Full()
	stuck := s.worker.stuck()
	switch {
	case records > 0 && silent >= s.r.cfg.HoldAfter:
		s.hold(ctx, now, theSink, fmt.Sprintf("no acknowledgement for %s", silent.Round(time.Second)))
	case s.full != "":
		s.hold(ctx, now, theState, s.full)
	case stuck != nil:
		s.hold(ctx, now, theState, stuck.Error())
	case isFull:
		s.hold(ctx, now, theSink, held+"; no more rows are held back than that")
	case s.holding:
		s.holding = false
		s.r.metrics.holding.Set(0)
		s.r.log.InfoContext(ctx, "going on")
		fallthrough
	default:
		if !s.paused {
			s.r.board.become(Streaming, held)
		}
	}
}

// busySince is when the sink began to have something to acknowledge.
func (s *session) busySince(records int, now time.Duration) time.Duration {
	if records == 0 {
		s.idleAt = now
	}
	return s.idleAt
}

func (s *session) publish() {
	m := s.machine
	records, bytes := m.InFlight()
	done, received := m.Done().Resume, m.Received()
	var oldest time.Time
	lag := time.Duration(0)
	if at, ok := m.Oldest(); ok {
		oldest = format.Time(at)
		lag = max(0, time.Since(oldest))
	}
	s.r.board.update(func(b *Status) {
		b.Received, b.Done, b.Stored, b.Confirmed = received, done, m.Stored().Resume, m.Confirmed()
		b.InFlight, b.InFlightBytes, b.Held, b.HeldTopics = records, bytes, m.Held(), s.heldTopics()
		b.Events += uint64(s.counted())
		b.LagSeconds, b.oldest = seconds(lag), oldest
		if !s.lastCommit.IsZero() { // else the stream before has told it
			b.LastCommit = s.lastCommit
		}
	})
	g := s.r.metrics
	g.queueRecords.Set(float64(records))
	g.queueBytes.Set(float64(bytes))
	g.held.Set(float64(m.Held()))
	g.unpublished.Set(float64(received - min(received, done)))
	g.lag.Set(seconds(lag))
}

// counted returns the events acknowledged since it was last asked.
func (s *session) counted() int64 {
	n := s.total - s.shown
	s.shown = s.total
	return n
}

// What a stream that holds waits for.
const (
	theSink  = "sink"
	theState = "state"
)

// hold says that nothing moves, and why where the sink can tell.
func (s *session) hold(ctx context.Context, now time.Duration, whom, why string) {
	if !s.holding {
		s.holding = true
		s.r.metrics.holding.Set(1)
		s.r.board.become(Holding, why)
		if whom == theSink {
			s.r.log.ErrorContext(ctx, "sink does not acknowledge, holding", "reason", why)
		} else {
			s.r.log.ErrorContext(ctx, "state takes nothing, holding", "reason", why)
		}
		s.asked = 0
	}
	d, ok := s.r.cfg.Sink.(Diagnoser)
	if !ok || whom != theSink || s.asked != 0 && now-s.asked < 15*time.Second {
		return
	}
	s.asked = max(now, 1)
	s.background.Go(func() {
		ctx, cancel := context.WithTimeout(s.beside, storeTimeout)
		defer cancel()
		err := d.Diagnose(ctx)
		if err == nil || ctx.Err() != nil {
			return
		}
		s.inbox.result(func() {
			if s.holding {
				s.r.board.become(Holding, err.Error())
				s.r.log.Error("holding until the sink takes records again", "reason", err)
			}
		})
	})
}
