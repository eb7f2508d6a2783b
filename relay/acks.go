package relay

import (
	"errors"
	"time"

	"github.com/gapless/gapless/internal/crashpoint"
	"github.com/gapless/gapless/relay/format"
)

// takeInbox handles acknowledgements and outcomes of jobs.
func (s *session) takeInbox(now time.Duration) error {
	acks, results := s.inbox.take()
	for _, done := range results {
		done()
	}
	// What is acknowledged counts, whatever ends the stream now.
	failed := s.takeAcks(acks, now)
	if s.worker.fatal != nil {
		return s.worker.fatal
	}
	return failed
}

func (s *session) takeAcks(acks []ack, now time.Duration) (failed error) {
	if len(acks) == 0 {
		return nil
	}
	s.lastAck = now
	for _, a := range acks {
		if a.err == nil {
			s.acked(a.record, a.at)
		} else if held, ok := errors.AsType[*HeldError](a.err); ok {
			s.holdBack(a.record, held)
		} else if err := s.sinkFailed(a); failed == nil {
			failed = err
		}
	}
	crashpoint.Hit("relay.after_ack")
	return failed
}

func (s *session) acked(r *format.Record, at time.Time) {
	if s.topic == nil || s.topicTag != r.Topic {
		s.topic, s.topicTag = s.r.metrics.topic(r.Topic), r.Topic
		delete(s.r.saidHeld, r.Topic)
	}
	s.topic.published.Inc()
	age := at.Sub(r.CommitTime)
	s.r.metrics.commitToAck.Observe(seconds(age))
	if r.Seq == s.sample && !s.sampleAt.IsZero() {
		s.r.metrics.publish.Observe(seconds(at.Sub(s.sampleAt)))
		s.sampleAt = time.Time{}
	}
	if s.r.cfg.Hooks.Acked != nil {
		s.r.cfg.Hooks.Acked(r, age)
	}
	s.settled(r)
}

// settled gives the record back: it is safe in the sink or in gapless.parked.
func (s *session) settled(r *format.Record) {
	s.events++
	s.total++
	if r.CommitTime.After(s.lastCommit) {
		s.lastCommit = r.CommitTime
	}
	s.machine.Ack(r.Seq)
	s.slabs.done(r)
}

func (s *session) sinkFailed(a ack) error {
	s.r.metrics.topic(a.record.Topic).failed.Inc()
	var fault *format.Fault
	if errors.As(a.err, &fault) {
		s.r.poison[placeOf(a.record)] = fault
	}
	return &sinkError{err: a.err, fault: fault}
}

// act does what the machine asks for.
func (s *session) act(now time.Duration) error {
	e := s.machine.Step(now)
	if e.Write {
		s.saving, s.events = s.events, 0
		s.worker.queueSave(s.save(e.Progress))
	}
	if !e.Status {
		return nil
	}
	if err := s.conn.Status(e.Flush, time.Now(), false); err != nil {
		return err
	}
	crashpoint.Hit("relay.after_confirm")
	return nil
}
