package relay

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/gapless/gapless/relay/format"
)

// HeldError is what a Sink's Send returns while a topic takes nothing, for a reason
// that concerns the whole topic and may pass: it is not there, or may not be written
// to. The sink has not taken the record, and takes none of that topic before Reset. It
// may also be given to ack, for each record of the topic that was not sent: then nothing
// else has failed.
type HeldError struct {
	Topic string
	Cause error
}

func (e *HeldError) Error() string { return fmt.Sprintf("topic %s: %v", e.Topic, e.Cause) }
func (e *HeldError) Unwrap() error { return e.Cause }

// Holder is a Sink that holds topics back. Other topics go on: of what is held the
// relay keeps the places in the log and no bytes, up to a limit, and reads it again
// when the topic is back.
type Holder interface {
	// AwaitHeld returns when a topic that Send held looks as if it could be written,
	// or when ctx ends. The topic stays held until Reset.
	AwaitHeld(ctx context.Context) error
}

// errTopicBack ends a stream, so that the next one sends what was held.
var errTopicBack = errors.New("a topic that was held may be written again")

// heldBack are the topics that take nothing.
type heldBack struct {
	topics  map[string]string // why
	waiting bool              // somebody watches for them
}

// holdBack forgets all of the record but its place.
func (s *session) holdBack(r *format.Record, held *HeldError) {
	if r.Seq == s.sample {
		s.sampleAt = time.Time{}
	}
	s.machine.Hold(r.Seq)
	s.slabs.done(r)
	s.awaitHeld(held)
}

// awaitHeld has somebody watch for the topic.
func (s *session) awaitHeld(held *HeldError) {
	if s.held.topics == nil {
		s.held.topics = map[string]string{}
	}
	if _, known := s.held.topics[held.Topic]; !known && len(s.held.topics) < maxTopics {
		s.held.topics[held.Topic] = held.Cause.Error()
	}
	if !s.r.saidHeld[held.Topic] && len(s.r.saidHeld) < maxTopics {
		s.r.saidHeld[held.Topic] = true
		s.r.log.Error("topic takes nothing, its rows wait and others go on", "topic", held.Topic, "reason", held.Cause)
	}
	h, ok := s.r.cfg.Sink.(Holder)
	if !ok || s.held.waiting {
		return
	}
	s.held.waiting = true
	s.background.Go(func() {
		err := h.AwaitHeld(s.beside)
		switch {
		case s.beside.Err() != nil:
		case err != nil:
			s.r.log.Warn("held topics cannot be watched", "error", err)
			s.inbox.result(func() { s.held.waiting = false }) // the next row that is held tries again
		default:
			s.inbox.result(func() { s.worker.fatal = errTopicBack })
		}
	})
}

// heldTopics are the first of those that rows wait for. Nobody changes the list.
func (s *session) heldTopics() []string {
	if s.machine.Held() == 0 {
		return nil
	}
	names := slices.Sorted(maps.Keys(s.held.topics))
	return names[:min(len(names), 20)]
}

// heldWhy tells what waits, and for what; empty when nothing does.
func (s *session) heldWhy() string {
	n := s.machine.Held()
	if n == 0 {
		return ""
	}
	names := slices.Sorted(maps.Keys(s.held.topics))
	rows := fmt.Sprintf("%d rows wait", n)
	if n == 1 {
		rows = "1 row waits"
	}
	why := fmt.Sprintf("%s for topic %s: %s", rows, names[0], s.held.topics[names[0]])
	if len(names) > 1 {
		why += fmt.Sprintf(", and for %d other topics", len(names)-1)
	}
	return why
}
