package loyalty_test

import (
	"fmt"
	"testing"

	"github.com/google/uuid"

	"github.com/gapless/gapless/consumers"
	"github.com/gapless/gapless/consumers/consumerstest"
	"github.com/gapless/gapless/consumers/loyalty"
	"github.com/gapless/gapless/contracts"
	"github.com/gapless/gapless/contracts/gaplessv1"
	"github.com/gapless/gapless/internal/pgtest"
)

func ExampleNew() {
	c := loyalty.New(loyalty.Config{})
	fmt.Println(c.Name, c.Topics, c.Types)
	// Output: loyalty [outbox.event.order] [OrderConfirmed]
}

func confirmed(h *consumerstest.Harness, order uuid.UUID, total int64) *consumers.Message {
	return h.Event(contracts.Order, order.String(), &gaplessv1.OrderConfirmed{OrderId: order.String(), CustomerId: "c", TotalMinor: total})
}

func TestPoints(t *testing.T) {
	t.Parallel()
	h := consumerstest.New(t, pgtest.NewDB(t).LoginURL(t, pgtest.Consumer), loyalty.New(loyalty.Config{}))
	a, b, c := uuid.New(), uuid.New(), uuid.New()
	first := confirmed(h, a, 1299)
	h.Feed(first, confirmed(h, b, 99), confirmed(h, c, 100))
	h.Feed(first, confirmed(h, a, 1299)) // again, and again under another event id
	for order, want := range map[uuid.UUID]int64{a: 12, b: 0, c: 1} {
		if n := h.Int("select sum(points) from loyalty.points where order_id = $1", order); n != want {
			t.Errorf("%d points, want %d", n, want)
		}
	}
}

func TestPoison(t *testing.T) {
	t.Parallel()
	h := consumerstest.New(t, pgtest.NewDB(t).LoginURL(t, pgtest.Consumer), loyalty.New(loyalty.Config{}))
	h.Feed(confirmed(h, uuid.New(), -1), h.Record(contracts.Order, "l", "OrderConfirmed", []byte("garbage")), confirmed(h, uuid.New(), 100))
	if n := len(h.DeadLetters()); n != 2 {
		t.Errorf("%d dead letters, want 2", n)
	}
	if n := h.Int("select sum(points) from loyalty.points"); n != 1 {
		t.Errorf("%d points, want 1", n)
	}
}

func TestCrashes(t *testing.T) {
	t.Parallel()
	db := pgtest.NewDB(t)
	h := consumerstest.New(t, db.URL, loyalty.New(loyalty.Config{}))
	pool := db.Pool(t)
	messages := []*consumers.Message{confirmed(h, uuid.New(), 100), confirmed(h, uuid.New(), 200)}
	h.Repeatedly(messages, func() string {
		return h.Text("select string_agg(points::text, ',' order by order_id) from loyalty.points")
	}, func() {
		if _, err := pool.Exec(t.Context(), "truncate loyalty.points"); err != nil {
			t.Fatal(err)
		}
	})
}
