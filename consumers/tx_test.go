package consumers_test

import (
	"context"
	"errors"
	"log/slog"
	"testing"

	"github.com/gapless/gapless/consumers"
	"github.com/gapless/gapless/contracts/gaplessv1"
	"github.com/gapless/gapless/outbox"
)

// The handler hears of an event that cannot be stored while it can still say
// what that means, and the rest of the batch is not held up by it.
func TestEmitValidatesAtOnce(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	consumer := effectConsumer()
	consumer.Apply = func(ctx context.Context, tx consumers.Tx, m consumers.Delivery) error {
		err := tx.Emit(ctx, m.Message,
			outbox.Event{AggregateType: "order", AggregateID: "1", Message: &gaplessv1.OrderConfirmed{OrderId: "1"}},
			outbox.Event{AggregateType: "order", AggregateID: string(m.Value), Type: "Noted"})
		if v, ok := errors.AsType[*outbox.ValidationError](err); ok {
			if v.Index != 1 || v.Field != "AggregateID" {
				t.Errorf("fault %v, want the one of the second event", v)
			}
			tx.Queue("INSERT INTO effect (event_id, key) VALUES ($1, 'refused')", m.ID)
			return nil
		}
		return err
	}
	in := newInbox(t, consumers.Config{Pool: d.pool}, consumer)
	got := process(t, in, message(t, 0, "a", ""), message(t, 1, "b", "2"))
	if got[0] != consumers.Applied || got[1] != consumers.Applied || d.effects(t) != "refused" {
		t.Errorf("outcomes %v, effects %q", got, d.effects(t))
	}
	if got := d.text(t, "SELECT string_agg(type, ' ' ORDER BY id) FROM gapless.outbox"); got != "OrderConfirmed Noted" {
		t.Errorf("emitted %q, want both of the second message and none of the first", got)
	}
}

// A Tx that a handler keeps must neither lose a write nor reach into the
// transaction that its connection is used for next, however its own ended.
func TestDeadTxRefuses(t *testing.T) {
	t.Parallel()
	for _, fails := range []bool{false, true} {
		d := newDatabase(t)
		var kept consumers.Tx
		consumer := effectConsumer()
		consumer.Apply = func(ctx context.Context, tx consumers.Tx, m consumers.Delivery) error {
			switch {
			case string(m.Key) == "first":
				if kept = tx; fails {
					return consumers.Poison("test", errors.New("this one fails"))
				}
			case string(m.Value) == "queue":
				kept.Queue("INSERT INTO effect (event_id, key) VALUES ($1, 'lost')", m.ID)
			default:
				if _, err := kept.Exec(ctx, "INSERT INTO effect (event_id, key) VALUES ($1, 'astray')", m.ID); err == nil {
					t.Error("a dead Tx took a statement")
				}
			}
			return nil
		}
		in := newInbox(t, consumers.Config{Pool: d.pool, MaxAttempts: 1}, consumer)
		process(t, in, message(t, 0, "first", ""))
		process(t, in, message(t, 1, "exec", ""))
		if got := process(t, in, message(t, 2, "queue", "queue")); got[0] != consumers.Parked {
			t.Errorf("outcome %v, want the lost write to fail its message", got)
		}
		if d.effects(t) != "" {
			t.Errorf("effects %q", d.effects(t))
		}
	}
}

func TestHandlersOwnCommitIsNoticed(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	w := &signalWriter{want: "committed or rolled back the inbox transaction itself", seen: make(chan struct{})}
	consumer := effectConsumer()
	consumer.Apply = func(ctx context.Context, tx consumers.Tx, m consumers.Delivery) error {
		_, err := tx.Exec(ctx, "COMMIT")
		return errors.Join(err, tx.Emit(ctx, m.Message, outbox.Event{AggregateType: "x", AggregateID: "1", Type: "Noted"}))
	}
	in := newInbox(t, consumers.Config{Pool: d.pool, Logger: slog.New(slog.NewTextHandler(w, nil))}, consumer)
	process(t, in, message(t, 0, "a", ""))
	select {
	case <-w.seen:
	default:
		t.Error("nothing was logged")
	}
	if got := d.int(t, "SELECT count(*) FROM gapless.outbox"); got != 0 {
		t.Errorf("%d events outside of the inbox transaction", got)
	}
}
