package analytics_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/gapless/gapless/consumers"
	"github.com/gapless/gapless/consumers/analytics"
	"github.com/gapless/gapless/consumers/consumerstest"
	"github.com/gapless/gapless/contracts"
	"github.com/gapless/gapless/contracts/gaplessv1"
	"github.com/gapless/gapless/internal/pgtest"
)

func ExampleNew() {
	c := analytics.New(analytics.Config{})
	fmt.Println(c.Name, c.Topics, c.Types)
	// Output: analytics [outbox.event.order] [OrderConfirmed]
}

func confirmed(h *consumerstest.Harness, at time.Time, currency string, total int64) *consumers.Message {
	id := uuid.NewString()
	return h.Event(contracts.Order, id, &gaplessv1.OrderConfirmed{
		OrderId: id, CustomerId: "c", Currency: currency, TotalMinor: total, ConfirmedAt: timestamppb.New(at),
	})
}

const table = `select coalesce(string_agg(to_char(hour at time zone 'UTC', 'MM-DD HH24:MI') || ' ' || currency || ' ' || orders || ' ' || revenue_minor,
	', ' order by hour, currency), '') from analytics.sales_by_hour`

func TestSalesByHour(t *testing.T) {
	t.Parallel()
	db := pgtest.NewDB(t)
	h := consumerstest.New(t, db.LoginURL(t, pgtest.Consumer), analytics.New(analytics.Config{}))
	noon := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	first := confirmed(h, noon, "USD", 100)
	h.Feed(
		first,
		confirmed(h, noon.Add(time.Hour-time.Microsecond), "USD", 50),
		confirmed(h, noon.Add(time.Hour), "USD", 7),
		confirmed(h, noon.In(time.FixedZone("half", 19800)), "EUR", 3), // 17:30 there, still 12:00 UTC
		h.Event(contracts.Order, "o", &gaplessv1.OrderCancelled{OrderId: uuid.NewString()}),
	)
	h.Feed(first, confirmed(h, noon, "USD", 1))
	var got string
	if err := h.Pool().QueryRow(t.Context(), table).Scan(&got); err != nil {
		t.Fatal(err)
	}
	if want := "03-01 12:00 EUR 1 3, 03-01 12:00 USD 3 151, 03-01 13:00 USD 1 7"; got != want {
		t.Errorf("table = %s, want %s", got, want)
	}
}

func TestPoison(t *testing.T) {
	t.Parallel()
	h := consumerstest.New(t, pgtest.NewDB(t).LoginURL(t, pgtest.Consumer), analytics.New(analytics.Config{}))
	h.Feed(
		h.Event(contracts.Order, "k", &gaplessv1.OrderConfirmed{OrderId: uuid.NewString()}), // confirmed when?
		h.Record(contracts.Order, "l", "OrderConfirmed", []byte("garbage")),
		confirmed(h, time.Now(), "USD", 1),
	)
	if n := len(h.DeadLetters()); n != 2 {
		t.Errorf("%d dead letters, want 2", n)
	}
	if n := h.Int("select sum(orders) from analytics.sales_by_hour"); n != 1 {
		t.Errorf("%d orders counted, want 1", n)
	}
}

func TestCrashes(t *testing.T) {
	t.Parallel()
	db := pgtest.NewDB(t)
	h := consumerstest.New(t, db.URL, analytics.New(analytics.Config{}))
	pool := db.Pool(t)
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	messages := []*consumers.Message{confirmed(h, at, "USD", 1), confirmed(h, at, "USD", 2), confirmed(h, at, "EUR", 3)}
	h.Repeatedly(messages, func() string { return h.Text(table) }, func() {
		if _, err := pool.Exec(t.Context(), "truncate analytics.sales_by_hour"); err != nil {
			t.Fatal(err)
		}
	})
}
