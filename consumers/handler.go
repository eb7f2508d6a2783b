package consumers

import (
	"context"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/gapless/gapless/outbox"
)

// Consumer is one group of the pipeline: which topics it reads and what it does
// with them. Exactly one of Apply and ApplyBatch is set.
type Consumer struct {
	// Name of the consumer in gapless.inbox; its group is gapless.<Name>.
	Name string
	// Topics it subscribes to.
	Topics []string
	// Types it takes. A message of another type is claimed with the outcome
	// "ignored" and reaches no handler. Empty takes every type.
	Types []string

	// Prepare does what must not sit in a transaction: a call to another system,
	// idempotent by Message.StepID or Message.ID. It may be slow, runs for several
	// messages at once, and may run again for the same message after a crash or
	// a rollback. Its result goes to Apply as Delivery.Prepared. Optional.
	Prepare func(ctx context.Context, m *Message) (any, error)
	// Apply brings about the effect of one message on tx. It is called in offset
	// order within a partition and at most once in a committed transaction for
	// each event. It must not commit, and should not call out.
	Apply func(ctx context.Context, tx Tx, d Delivery) error
	// ApplyBatch is Apply for all messages of a batch at once, in offset order:
	// for handlers that lock and read set-wise. Any error fails the whole batch,
	// which then runs message by message.
	ApplyBatch func(ctx context.Context, tx Tx, batch []Delivery) error
}

// Delivery is a message together with what Prepare made of it.
type Delivery struct {
	*Message
	Prepared any
}

// Tx is the inbox transaction a handler works on. Queued statements go out in
// one pipeline; Exec, Query and QueryRow send what is queued first, so a
// handler always reads its own writes.
//
// A Tx is used by one goroutine at a time and is dead once Apply returns.
type Tx interface {
	// Queue adds a statement to the pipeline. Its error, if any, fails the batch
	// when the pipeline is sent. The returned query takes callbacks (Exec, Query,
	// QueryRow) that run then. On a dead Tx it panics, where the others return an
	// error.
	Queue(sql string, args ...any) *pgx.QueuedQuery
	// Emit queues events for the outbox, in the same transaction. Headers of the
	// message being applied are carried over: ce_correlationid, traceparent,
	// tracestate; ce_causationid is its id. cause names that message; nil means
	// none. An event that could not be stored is a *outbox.ValidationError at once,
	// and none of the call is queued.
	Emit(ctx context.Context, cause *Message, events ...outbox.Event) error
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}
