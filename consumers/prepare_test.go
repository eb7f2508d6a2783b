package consumers_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/gapless/gapless/consumers"
)

func TestPrepareRunsBesideEachOtherAndOnlyWhenNeeded(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	const limit = 4
	var calls, running, most atomic.Int32
	full := make(chan struct{})
	var once sync.Once
	consumer := effectConsumer()
	consumer.Prepare = func(ctx context.Context, m *consumers.Message) (any, error) {
		calls.Add(1)
		n := running.Add(1)
		defer running.Add(-1)
		for {
			if seen := most.Load(); n <= seen || most.CompareAndSwap(seen, n) {
				break
			}
		}
		if n == limit && string(m.Value) == "slow" {
			once.Do(func() { close(full) })
		}
		if string(m.Value) == "slow" {
			select { // all of them wait until as many as may run do run
			case <-full:
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
		return "prepared " + string(m.Key), nil
	}
	consumer.Apply = func(ctx context.Context, tx consumers.Tx, m consumers.Delivery) error {
		if m.Prepared != "prepared "+string(m.Key) {
			return consumers.Poison("unprepared", fmt.Errorf("got %v", m.Prepared))
		}
		return applyEffect(ctx, tx, m)
	}
	// One connection: a Prepare that held one would leave none for the look-up.
	cfg := d.pool.Config()
	cfg.MaxConns = 1
	single, err := pgxpool.NewWithConfig(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer single.Close()
	in := newInbox(t, consumers.Config{Pool: single, PrepareConcurrency: limit}, consumer)

	list := messages(t, 12)
	for _, m := range list {
		m.Value = []byte("slow")
	}
	process(t, in, list...)
	if calls.Load() != 12 || most.Load() != limit {
		t.Errorf("%d calls, at most %d at once; want 12 and %d", calls.Load(), most.Load(), limit)
	}
	calls.Store(0)
	process(t, in, list...) // all known
	process(t, in, message(t, 20, "blocked", "poison"))
	calls.Store(0)
	got := process(t, in, message(t, 21, "blocked", "good"))
	if calls.Load() != 0 || got[0] != consumers.Waiting {
		t.Errorf("%d calls for known and blocked messages, want none; outcome %v", calls.Load(), got)
	}
}

func TestPrepareFailureIsTheMessagesOwn(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	var tries atomic.Int32
	consumer := effectConsumer()
	consumer.Prepare = func(_ context.Context, m *consumers.Message) (any, error) {
		switch string(m.Value) {
		case "transient":
			if tries.Add(1) < 3 {
				return nil, errors.New("not yet")
			}
		case "declined":
			return nil, errors.New("never")
		case "panic":
			panic("in prepare")
		}
		return nil, nil
	}
	in := newInbox(t, consumers.Config{Pool: d.pool}, consumer)
	process(t, in, message(t, 0, "a", "good"), message(t, 1, "b", "transient"), message(t, 2, "c", "declined"), message(t, 3, "d", "panic"), message(t, 4, "e", "good"))
	if d.effects(t) != "a b e" {
		t.Errorf("effects %q, want a b e", d.effects(t))
	}
	if got := d.text(t, "SELECT string_agg(reason, ' ' ORDER BY reason) FROM gapless.dead_letter"); got != "failed panic" {
		t.Errorf("dead letters %q", got)
	}
}

func TestDependencyDownParksNothing(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	calls := 0
	consumer := effectConsumer()
	consumer.Apply = func(ctx context.Context, tx consumers.Tx, m consumers.Delivery) error {
		if string(m.Key) == "b" {
			if calls++; calls < 4 {
				return consumers.Unavailable(errors.New("the provider does not answer"))
			}
		}
		return applyEffect(ctx, tx, m)
	}
	in := newInbox(t, consumers.Config{Pool: d.pool, MaxAttempts: 1}, consumer)
	process(t, in, message(t, 0, "a", ""), message(t, 1, "b", ""), message(t, 2, "c", ""))
	if d.effects(t) != "a b c" || d.int(t, "SELECT count(*) FROM gapless.dead_letter") != 0 {
		t.Errorf("effects %q, want all in order and nothing parked", d.effects(t))
	}
}
