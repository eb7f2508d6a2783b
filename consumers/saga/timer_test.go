package saga_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"golang.org/x/sync/errgroup"

	"github.com/gapless/gapless/consumers/saga"
	"github.com/gapless/gapless/internal/testkit"
)

// Any number of timers: what is due is sent again once.
func TestManyTimers(t *testing.T) {
	t.Parallel()
	b := newBus(t, 1)
	const orders = 250 // more than one timer takes at once
	for range orders {
		b.place(order())
	}
	b.carry()
	b.deliver("saga", orders)
	if _, err := b.admin.Exec(t.Context(), "update gapless.saga set deadline = clock_timestamp()"); err != nil {
		t.Fatal(err)
	}
	var g errgroup.Group
	for range 4 {
		g.Go(func() error { return b.saga.Expire(t.Context()) })
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	if n := one[int](b, "select count(*) from gapless.outbox where type = 'ReserveStock'"); n != 2*orders {
		t.Errorf("%d commands for %d sagas that were due once, want two each", n, orders)
	}
	if n := one[int](b, "select count(*) from gapless.saga_step where attempts <> 2 or command_id not in (select id from gapless.outbox)"); n != 0 {
		t.Errorf("%d steps do not name their second command", n)
	}
	if n := one[int](b, "select count(*) from gapless.saga where deadline < clock_timestamp() + interval '100 minutes'"); n != 0 {
		t.Errorf("%d sagas wait no longer than before", n) // an hour, then two
	}
}

// A saga that waits for a person has no deadline, however long it waits.
func TestReviewHasNoDeadline(t *testing.T) {
	t.Parallel()
	b := newBus(t, 1)
	b.stock(map[string]int{"A-1": 10, "B-1": 10})
	id := b.place(order(flagged))
	b.settle()
	if n := one[int](b, "select count(*) from gapless.saga where deadline is not null"); n != 0 {
		t.Error("the review has a deadline")
	}
	b.expire()
	b.settle()
	b.expect(id, "in_review", "")
}

// Run sends again by itself, ends clean, and its metrics are fit for Prometheus.
func TestRun(t *testing.T) {
	t.Parallel()
	b := newBus(t, 1)
	b.place(order())
	b.carry()
	b.deliver("saga", 1)
	if _, err := b.admin.Exec(t.Context(), "update gapless.saga set deadline = clock_timestamp()"); err != nil {
		t.Fatal(err)
	}
	reg := prometheus.NewPedanticRegistry()
	s := saga.New(saga.Config{Pool: b.pool, Interval: time.Millisecond, Registerer: reg})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	testkit.Eventually(t, 20*time.Second, func() error {
		if n := one[int](b, "select count(*) from gapless.outbox where type = 'ReserveStock'"); n != 2 {
			return fmt.Errorf("%d commands, want 2", n)
		}
		return nil
	})
	cancel()
	if err := <-done; err != nil {
		t.Errorf("run: %v", err)
	}
	if problems, err := testutil.GatherAndLint(reg); err != nil || len(problems) > 0 {
		t.Errorf("metrics: %v %v", problems, err)
	}
	if err := saga.New(saga.Config{}).Run(t.Context()); err == nil {
		t.Error("timers run without a database")
	}
}

func TestConfig(t *testing.T) {
	t.Parallel()
	for _, c := range []saga.Config{{Timeout: -1}, {MaxTimeout: -1}, {Attempts: -1}, {Interval: -1}} {
		if err := c.Validate(); err == nil {
			t.Errorf("%+v is valid", c)
		}
	}
}

// A saga that cannot be moved does not hold up those behind it.
func TestTimerPassesOverASagaThatCannotBeMoved(t *testing.T) {
	t.Parallel()
	b := newBus(t, 1)
	stuck, unknown, good := b.place(order()), b.place(order()), b.place(order())
	b.carry()
	b.deliver("saga", 3)
	for _, statement := range []string{
		"delete from checkout.order_items where order_id = '" + stuck.String() + "'",
		"delete from checkout.orders where order_id = '" + stuck.String() + "'",
		// its last attempt, so that the order is to be cancelled
		"update gapless.saga set data = data || '{\"attempts\": 100}' where saga_id = '" + stuck.String() + "'",
		"update gapless.saga set step = 'of a later version' where saga_id = '" + unknown.String() + "'",
		"update gapless.saga set deadline = clock_timestamp() - interval '1 minute'",
		"update gapless.saga set deadline = clock_timestamp() where saga_id = '" + good.String() + "'",
	} {
		if _, err := b.admin.Exec(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.saga.Expire(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := one[int](b, "select count(*) from gapless.outbox where type = 'ReserveStock' and aggregateid = '"+good.String()+"'"); n != 2 {
		t.Errorf("%d commands of the saga behind those that cannot be moved, want 2", n)
	}
	if n := one[int](b, "select count(*) from gapless.saga where deadline < clock_timestamp()"); n == 0 {
		t.Error("every saga was moved: the fault was not met")
	}
}
