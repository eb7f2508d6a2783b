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
	Holding   State = "holding"   // connected, but the sink does not acknowledge, or the state cannot be stored
	Paused    State = "paused"    // connected, and told to send nothing
	Stopped   State = "stopped"   // Run has ended
)

// Status is what a relay is doing.
type Status struct {
	State  State     `json:"state"`
	Reason string    `json:"reason,omitempty"` // why it is not streaming, or what rows wait for; empty when all is well
	Since  time.Time `json:"since"`

	Slot      string   `json:"slot"`
	Received  core.LSN `json:"received"`  // end of WAL heard of
	Done      core.LSN `json:"done"`      // everything before it is acknowledged
	Stored    core.LSN `json:"stored"`    // in the progress record
	Confirmed core.LSN `json:"confirmed"` // told to the slot

	InFlight      int       `json:"in_flight"`
	InFlightBytes int64     `json:"in_flight_bytes"`
	Held          int       `json:"held"`                  // rows that wait for a topic, and are read again when it is back
	HeldTopics    []string  `json:"held_topics,omitempty"` // sorted; some, where they are very many
	Events        uint64    `json:"events"`                // done with by this process: acknowledged, parked, or waiting behind one that is
	Parked        uint64    `json:"parked"`                // parked by this process; those that wait behind one are not counted
	LastCommit    time.Time `json:"last_commit,omitzero"`
	LagSeconds    float64   `json:"lag_seconds"` // since the commit of the oldest event that is not acknowledged; 0 when there is none
	Reconnects    uint64    `json:"reconnects"`

	oldest time.Time // that commit; zero when there is none
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
