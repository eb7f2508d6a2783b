package consumerstest

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"

	"github.com/gapless/gapless/consumers"
)

// Point is where in a batch a crash happens.
type Point int

const (
	// BeforeApply: the batch is claimed, the message's handler not yet called.
	BeforeApply Point = iota
	// AfterApply: the message's handler has returned, nothing is committed.
	AfterApply
	// InPanic: as AfterApply, by a panic, which the runtime survives: the message
	// is tried again without a restart.
	InPanic
)

// Points are all of them.
func Points() []Point { return []Point{BeforeApply, AfterApply, InPanic} }

func (p Point) String() string {
	return [...]string{"before apply", "after apply", "in panic"}[p]
}

// crash is armed for the n-th delivery from now.
type crash struct {
	point Point
	left  int
	fired bool
	end   context.CancelCauseFunc
}

var errCrashed = errors.New("the process crashed")

// Crash feeds the messages to a process that dies at the n-th delivery (from 1)
// of what is left to be applied: the database ends its connection there, and
// nothing after that happens. The next Feed is that of a new process. It fails
// the test when there was no n-th delivery.
func (h *Harness) Crash(point Point, n int, messages ...*consumers.Message) {
	h.t.Helper()
	if !h.crashes(point, n, messages...) {
		h.t.Fatalf("crash %s of delivery %d: there was none", point, n)
	}
}

func (h *Harness) crashes(point Point, n int, messages ...*consumers.Message) (fired bool) {
	h.t.Helper()
	ctx, end := context.WithCancelCause(h.t.Context())
	defer end(nil)
	c := &crash{point: point, left: n, end: end}
	h.crash = c
	_, err := h.inbox.Process(ctx, messages...)
	h.crash = nil
	if err != nil && !errors.Is(context.Cause(ctx), errCrashed) {
		h.t.Fatalf("feed: %v", err)
	}
	h.restart()
	return c.fired
}

// crashable wraps the handlers so that an armed crash fires in them.
func (h *Harness) crashable(c consumers.Consumer) consumers.Consumer {
	if apply := c.Apply; apply != nil {
		c.Apply = func(ctx context.Context, tx consumers.Tx, d consumers.Delivery) error {
			armed := h.arm(1)
			if err := h.fire(ctx, tx, armed, BeforeApply); err != nil {
				return err
			}
			if err := apply(ctx, tx, d); err != nil {
				return err
			}
			return h.fire(ctx, tx, armed, AfterApply)
		}
	}
	if apply := c.ApplyBatch; apply != nil {
		c.ApplyBatch = func(ctx context.Context, tx consumers.Tx, batch []consumers.Delivery) error {
			armed := h.arm(len(batch))
			if err := h.fire(ctx, tx, armed, BeforeApply); err != nil {
				return err
			}
			if err := apply(ctx, tx, batch); err != nil {
				return err
			}
			return h.fire(ctx, tx, armed, AfterApply)
		}
	}
	return c
}

// arm counts n deliveries down and returns the crash that is due among them.
func (h *Harness) arm(n int) *crash {
	c := h.crash
	if c == nil || c.fired {
		return nil
	}
	if c.left -= n; c.left > 0 {
		return nil
	}
	return c
}

func (h *Harness) fire(ctx context.Context, tx consumers.Tx, c *crash, at Point) error {
	if c == nil || c.fired {
		return nil
	}
	if isHere := c.point == at || c.point == InPanic && at == AfterApply; !isHere {
		return nil
	}
	c.fired = true
	if c.point == InPanic {
		panic("consumerstest: a panic as planned")
	}
	// What is queued reaches the server first: a crash comes after real writes.
	_, err := tx.Exec(ctx, "SELECT pg_terminate_backend(pg_backend_pid())")
	c.end(errCrashed)
	if err == nil {
		err = errCrashed
	}
	return err
}

// Repeatedly feeds the messages in every way that Kafka may: twice, and with a
// crash at each point of each delivery before they are fed again. effect is what
// must be the same after each way as after a plain Feed; reset brings the
// database back to where it was.
func (h *Harness) Repeatedly(messages []*consumers.Message, effect func() string, reset func()) {
	h.t.Helper()
	h.Feed(messages...)
	want := effect()
	check := func(way string) {
		h.t.Helper()
		if got := effect(); got != want {
			h.t.Errorf("%s: effect\n%s\nwant\n%s", way, got, want)
		}
	}
	h.Feed(messages...)
	check("fed again")

	reset()
	h.forget(messages)
	h.FeedTwice(messages...)
	check("fed with duplicates")

	for _, point := range Points() {
		for n := 1; ; n++ {
			reset()
			h.forget(messages)
			if !h.crashes(point, n, messages...) {
				break
			}
			h.Feed(messages...)
			check("crashed " + point.String())
		}
	}
}

// forget removes every trace of the messages, for another run of the same test:
// the claims, and what was parked and blocked. In service no claim is ever deleted.
func (h *Harness) forget(messages []*consumers.Message) {
	h.t.Helper()
	ids := make([]string, len(messages))
	for i, m := range messages {
		ids[i] = m.ID.String()
	}
	generation := max(1, h.config.Generation)
	var batch pgx.Batch
	batch.Queue(`DELETE FROM gapless.key_block AS b USING gapless.dead_letter AS l
		WHERE l.dead_letter_id = b.dead_letter_id AND l.consumer = $1 AND l.generation = $2 AND l.event_id = ANY ($3::uuid[])`,
		h.consumer.Name, generation, ids)
	for _, table := range []string{"key_block_message", "dead_letter", "inbox_attempt", "inbox"} {
		batch.Queue("DELETE FROM gapless."+table+" WHERE consumer = $1 AND generation = $2 AND event_id = ANY ($3::uuid[])",
			h.consumer.Name, generation, ids)
	}
	if err := h.pool.SendBatch(h.t.Context(), &batch).Close(); err != nil {
		h.t.Fatalf("forget messages: %v", err)
	}
}
