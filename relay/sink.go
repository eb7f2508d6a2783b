package relay

import (
	"context"

	"github.com/gapless/gapless/relay/format"
)

// Sink is where records go. The relay calls Send, Reset, Close and Gather from one
// goroutine, and what the other interfaces of this file have from others, at the same time.
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
	// ack is not called. A *HeldError, returned or given to ack, says that the record's
	// topic takes nothing for now, and of no other record anything: only a Holder may say
	// so, and lets the topic go in Reset. Every other error given to ack
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
// has changed. It is asked before parked rows are sent again, while others are being sent,
// and holds up the storing of progress meanwhile. After changed the relay calls Reset.
type Learner interface {
	Relearn(ctx context.Context) (changed bool, err error)
}

// Diagnoser is a Sink that can say what it waits for. It is asked, from a
// goroutine of its own, when acknowledgements have not come for a while.
type Diagnoser interface {
	// Diagnose returns nil when all seems well.
	Diagnose(ctx context.Context) error
}

// Recaller is a Sink that can tell what it was given before, by whomever.
type Recaller interface {
	// Recall gives take what is in the topics, of each partition in stretches from its end
	// backwards, in the order of the log within a stretch. Behind each it asks more whether
	// the one before it is wanted. Only what a consumer of committed records gets is given.
	// A topic that is not there has nothing. A record is valid until take returns.
	Recall(ctx context.Context, topics []string, take func(*format.Record), more func(topic string, partition int32) bool) error
}

// Gatherer is a Sink that sends larger batches where it is told that nothing is gained by
// sending at once: they cost the far side less.
type Gatherer interface {
	// Gather says whether records, those already sent too, may wait for company, for some
	// milliseconds; before the first call they may not. It returns at once. It is on while
	// the stream is late and more can come, off when that has to wait for an
	// acknowledgement, and when a stream ends. Reset does not change it.
	Gather(on bool)
}

// Doubler is a Sink of which there can be another one, that shares nothing with it: what
// is sent by the one holds up nothing of the other's. Snapshot signals need it.
type Doubler interface {
	// Double does no I/O. Who calls it closes what it gives.
	Double() (Sink, error)
}
