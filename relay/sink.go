package relay

import (
	"context"

	"github.com/gapless/gapless/relay/format"
)

// Sink is where records go. The relay calls it from one goroutine.
//
// Records of one topic and key must arrive in the order in which they were
// sent, and a record must be acknowledged only when the far side would keep it
// through a crash of its own.
type Sink interface {
	// Send takes r over and returns at once; what is in flight is bounded by
	// the relay. ack is called exactly once for it, from any goroutine, with
	// nil when r is safe. Until then r must not change; after it, r must not
	// be touched.
	//
	// A *format.Fault, returned here or given to ack, says that this record
	// will never be taken: the relay parks it. Only one that is returned keeps
	// the key's order for certain, since nothing behind it has been sent; then
	// ack is not called. A *HeldError given to ack says that the record's topic takes
	// nothing for now, and of no other record anything. Every other error given to ack
	// says that the sink cannot go on, a Fault too: whoever sends calls Reset and sends
	// again what was not acknowledged, but for the record of the Fault.
	Send(r *format.Record, ack func(*format.Record, error)) error

	// Reset forgets what was sent and not acknowledged, makes sure that none
	// of it arrives any more, and returns when sending makes sense again. It
	// blocks as long as that takes, or until ctx ends.
	Reset(ctx context.Context) error

	// Close frees what the sink holds. Nothing is in flight that matters.
	Close(ctx context.Context) error
}

// Learner is a Sink that learns what the far side takes, and can look whether that
// has changed. It is asked before parked rows are sent again, and holds up the storing of
// progress meanwhile. After changed the relay calls Reset.
type Learner interface {
	Relearn(ctx context.Context) (changed bool, err error)
}

// Diagnoser is a Sink that can say what it waits for. It is asked, from a
// goroutine of its own, when acknowledgements have not come for a while.
type Diagnoser interface {
	// Diagnose returns nil when all seems well.
	Diagnose(ctx context.Context) error
}
