package relay

import (
	"sync"
	"time"

	"github.com/gapless/gapless/relay/core"
)

// State of a relay; doc.go draws how they follow each other.
type State string

// The states.
const (
	Starting  State = "starting"  // connecting, checking, or waiting to try again
	Standby   State = "standby"   // another relay has the slot; ready to take over
	Streaming State = "streaming" // receiving and sending
	Holding   State = "holding"   // connected, but the sink does not acknowledge
	Paused    State = "paused"    // connected, and told to send nothing
	Stopped   State = "stopped"   // Run has ended
)

// Status is what a relay is doing.
type Status struct {
	State  State
	Reason string // why it is not streaming, or what rows wait for; empty when all is well
	Since  time.Time

	Slot      string
	Received  core.LSN // end of WAL heard of
	Done      core.LSN // everything before it is acknowledged
	Stored    core.LSN // in the progress record
	Confirmed core.LSN // told to the slot

	InFlight      int
	InFlightBytes int64
	Held          int    // rows that wait for a topic, and are read again when it is back
	Events        uint64 // acknowledged by this process
	Parked        uint64 // parked by this process
	LastCommit    time.Time
	Lag           time.Duration // since the commit of the oldest event that is not acknowledged; 0 when there is none
	Reconnects    uint64
}

// Ready tells whether the relay does its job, or stands by to do it.
func (s Status) Ready() bool {
	return s.State == Streaming || s.State == Standby || s.State == Holding || s.State == Paused
}

// board is the Status as the relay's goroutine last left it.
type board struct {
	mu sync.Mutex
	s  Status
}

func (b *board) update(f func(*Status)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f(&b.s)
}

// become returns whether the state is another one now.
func (b *board) become(state State, reason string) (changed bool) {
	b.update(func(s *Status) {
		changed = s.State != state
		if changed {
			s.Since = time.Now()
		}
		s.State, s.Reason = state, reason
	})
	return changed
}

func (b *board) status() Status {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.s
}
