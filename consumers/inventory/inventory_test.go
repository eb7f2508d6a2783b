package inventory_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/gapless/gapless/consumers"
	"github.com/gapless/gapless/consumers/consumerstest"
	"github.com/gapless/gapless/consumers/inventory"
	"github.com/gapless/gapless/contracts"
	"github.com/gapless/gapless/contracts/gaplessv1"
	"github.com/gapless/gapless/internal/pgtest"
)

func Example() {
	c := inventory.New(inventory.Config{})
	fmt.Println(c.Name, c.Topics, c.Types)
	// Output: inventory [outbox.event.inventory.command] [ReserveStock ReleaseStock]
}

// fixture is a harness on a login with a consumer's rights, and stock.
type fixture struct {
	*consumerstest.Harness
	t  *testing.T
	db *pgtest.DB
}

func setup(t *testing.T, stock map[string]int) *fixture {
	t.Helper()
	db := pgtest.NewDB(t)
	admin := db.Pool(t)
	for sku, n := range stock {
		if _, err := admin.Exec(t.Context(), "insert into inventory.stock (sku, initial, available) values ($1, $2, $2)", sku, n); err != nil {
			t.Fatal(err)
		}
	}
	return &fixture{consumerstest.New(t, db.LoginURL(t, pgtest.Consumer), inventory.New(inventory.Config{})), t, db}
}

// reserve takes "A 2, B 1".
func (f *fixture) reserve(order uuid.UUID, lines string) *consumers.Message {
	m := &gaplessv1.ReserveStock{OrderId: order.String()}
	for text := range strings.SplitSeq(lines, ", ") {
		l := &gaplessv1.StockLine{}
		if _, err := fmt.Sscanf(text, "%s %d", &l.Sku, &l.Quantity); err != nil {
			f.t.Fatal(err)
		}
		m.Lines = append(m.Lines, l)
	}
	return f.Event(contracts.InventoryCommand, order.String(), m, step(order, "reserve"))
}

func (f *fixture) release(order uuid.UUID) *consumers.Message {
	return f.Event(contracts.InventoryCommand, order.String(), &gaplessv1.ReleaseStock{OrderId: order.String()}, step(order, "release"))
}

func step(order uuid.UUID, name string) consumers.Header {
	return consumers.Header{Name: "gapless_step", Value: []byte(uuid.NewSHA1(order, []byte(name)).String())}
}

// replies are the events about an order: "type version".
func (f *fixture) replies(order uuid.UUID) string {
	f.t.Helper()
	var list []string
	for _, e := range f.Emitted() {
		if e.AggregateID != order.String() {
			continue
		}
		if e.AggregateType != contracts.Stock || e.Headers["gapless_step"] == "" {
			f.t.Errorf("%s went to %s with step %q", e.Type, e.AggregateType, e.Headers["gapless_step"])
		}
		list = append(list, fmt.Sprintf("%s %d", e.Type, *e.AggregateVersion))
	}
	return strings.Join(list, ", ")
}

func (f *fixture) available() string {
	f.t.Helper()
	var list string
	err := f.Pool().QueryRow(f.t.Context(), "select string_agg(sku || ' ' || available, ', ' order by sku) from inventory.stock").Scan(&list)
	if err != nil {
		f.t.Fatal(err)
	}
	return list
}

func (f *fixture) conserved() {
	f.t.Helper()
	if n := f.Int(`select count(*) from inventory.stock s where available <> initial +
		coalesce((select sum(delta) from inventory.stock_movements m where m.sku = s.sku), 0)`); n != 0 {
		f.t.Errorf("%d SKUs whose stock is not initial plus movements", n)
	}
}

func (f *fixture) expect(what, got, want string) {
	f.t.Helper()
	if got != want {
		f.t.Errorf("%s = %q, want %q", what, got, want)
	}
}

func TestReserveAndRelease(t *testing.T) {
	t.Parallel()
	f := setup(t, map[string]int{"A": 10, "B": 2})
	a, b, c := uuid.New(), uuid.New(), uuid.New()
	f.Feed(
		f.reserve(a, "A 2, B 1, A 3"), // A twice is A 5
		f.reserve(b, "A 1, B 2"),      // B is short by now
		f.reserve(c, "A 5"),
		f.release(a),
		f.release(b), // of nothing
	)
	f.expect("available", f.available(), "A 5, B 2")
	f.expect("replies to a", f.replies(a), "StockReserved 1, StockReleased 2")
	f.expect("replies to b", f.replies(b), "StockRejected 1, StockReleased 2")
	f.expect("replies to c", f.replies(c), "StockReserved 1")
	f.conserved()
	for _, e := range f.Emitted() {
		if m, ok := f.Decode(e).(*gaplessv1.StockRejected); ok && (len(m.GetShort()) != 1 || m.GetShort()[0].GetSku() != "B") {
			t.Errorf("short = %s, want B", protojson.Format(m))
		}
	}
}

// All lines or none, and an SKU that does not exist is one that is short.
func TestRejectReservesNothing(t *testing.T) {
	t.Parallel()
	f := setup(t, map[string]int{"A": 10})
	order := uuid.New()
	f.Feed(f.reserve(order, "A 1, Z 1"))
	f.expect("available", f.available(), "A 10")
	f.expect("replies", f.replies(order), "StockRejected 1")
}

// A release that overtakes its reservation leaves nothing to be reserved; in
// one batch and in two.
func TestReleaseBeforeReserve(t *testing.T) {
	t.Parallel()
	for _, feed := range []string{"together", "singly"} {
		t.Run(feed, func(t *testing.T) {
			t.Parallel()
			f := setup(t, map[string]int{"A": 10})
			order := uuid.New()
			messages := []*consumers.Message{f.release(order), f.reserve(order, "A 1")}
			if feed == "together" {
				f.Feed(messages...)
			} else {
				f.FeedSingly(messages...)
			}
			f.expect("available", f.available(), "A 10")
			f.expect("replies", f.replies(order), "StockReleased 1, StockRejected 2")
		})
	}
}

// The same command under another event id is answered again, with a version of
// its own, and moves nothing.
func TestRepeatedCommands(t *testing.T) {
	t.Parallel()
	f := setup(t, map[string]int{"A": 10, "B": 0})
	got, short := uuid.New(), uuid.New()
	for range 2 {
		f.Feed(f.reserve(got, "A 4"), f.reserve(short, "B 1"), f.reserve(got, "A 4"))
	}
	f.expect("available", f.available(), "A 6, B 0")
	f.expect("replies", f.replies(got), "StockReserved 1, StockReserved 2, StockReserved 3, StockReserved 4")
	f.expect("replies to the short one", f.replies(short), "StockRejected 1, StockRejected 2")
	f.Feed(f.release(got), f.release(got), f.reserve(got, "A 4"))
	f.expect("available", f.available(), "A 10, B 0")
	f.expect("replies", f.replies(got)[len("StockReserved 1, StockReserved 2, StockReserved 3, StockReserved 4, "):],
		"StockReleased 5, StockReleased 6, StockRejected 7")
	f.conserved()
}

// What is wrong with one message is parked, and the others are applied.
func TestPoison(t *testing.T) {
	t.Parallel()
	f := setup(t, map[string]int{"A": 10})
	good := uuid.New()
	f.Feed(
		f.Record(contracts.InventoryCommand, uuid.NewString(), "ReserveStock", []byte("garbage")),
		f.Event(contracts.InventoryCommand, "k", &gaplessv1.ReserveStock{OrderId: "no uuid"}),
		f.reserve(uuid.New(), "A 0"),
		f.reserve(uuid.New(), "A -1"),
		f.reserve(uuid.New(), "A 2147483647, A 1"),
		f.reserve(good, "A 1"),
	)
	f.expect("available", f.available(), "A 9")
	if n := len(f.DeadLetters()); n != 5 {
		t.Errorf("%d dead letters, want 5", n)
	}
}

// Rolled back at every point of every delivery, fed again, and fed twice: the
// effect is that of one feed.
func TestCrashes(t *testing.T) {
	t.Parallel()
	f := setup(t, map[string]int{"A": 5})
	h := consumerstest.New(t, f.db.URL, inventory.New(inventory.Config{}))
	var messages []*consumers.Message
	for i := range 4 {
		order := uuid.New()
		messages = append(messages, f.reserve(order, "A 2"))
		if i == 1 {
			messages = append(messages, f.release(order))
		}
	}
	admin := f.db.Pool(t)
	h.Repeatedly(messages, func() string {
		return h.Text(`select (select string_agg(sku || available, ',') from inventory.stock) || ' '
			|| (select string_agg(status, ',' order by order_id) from inventory.reservations) || ' '
			|| (select count(*) from inventory.stock_movements) || ' ' || (select count(*) from gapless.outbox)`)
	}, func() {
		_, err := admin.Exec(t.Context(), "truncate inventory.reservations, inventory.stock_movements, gapless.outbox; update inventory.stock set available = initial")
		if err != nil {
			t.Fatal(err)
		}
	})
}

// Many processes reserve the last pieces at once, in batches that share SKUs in
// every order: each piece is sold once, none is left, and none waits for ever.
func TestNoOversell(t *testing.T) {
	t.Parallel()
	f := setup(t, map[string]int{"A": 300, "B": 60, "C": 300})
	pool := pgtest.OpenPool(t, f.db.LoginURL(t, pgtest.Consumer)+"&pool_max_conns=10")
	var g errgroup.Group
	for range 8 {
		inbox, err := consumers.NewInbox(consumers.Config{Pool: pool, BatchSize: 7}, inventory.New(inventory.Config{}))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(inbox.Close)
		var messages []*consumers.Message
		for i := range 40 {
			lines := []string{"A 1, B 1", "B 1, C 1", "C 1, A 1"}[i%3]
			messages = append(messages, f.reserve(uuid.New(), lines))
		}
		g.Go(func() error {
			_, err := inbox.Process(context.WithoutCancel(t.Context()), messages...)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	f.conserved()
	if n := f.Int("select min(available) from inventory.stock"); n < 0 {
		t.Errorf("stock fell to %d", n)
	}
	if n := f.Int("select available from inventory.stock where sku = 'B'"); n != 0 {
		t.Errorf("%d of B were refused to orders that wanted them", n)
	}
	if n := f.Int("select count(*) from inventory.reservations"); n != 320 {
		t.Errorf("%d of 320 orders were decided", n)
	}
	sold := f.Int("select count(*) from inventory.reservations where status = 'reserved'")
	if moved := f.Int("select -sum(delta) from inventory.stock_movements"); moved != 2*sold {
		t.Errorf("%d pieces moved for %d orders of 2", moved, sold)
	}
	types := f.Types()
	if n := len(slices.DeleteFunc(types, func(s string) bool { return s != "StockReserved" })); int64(n) != sold {
		t.Errorf("%d times StockReserved for %d reservations", n, sold)
	}
}
