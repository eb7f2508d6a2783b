package saga_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/gapless/gapless/consumers/saga"
	"github.com/gapless/gapless/contracts/gaplessv1"
)

// order is one that goes well; tests change what they are about.
func order(change ...func(*gaplessv1.OrderPlaced)) *gaplessv1.OrderPlaced {
	o := &gaplessv1.OrderPlaced{
		CustomerId: "c-1", Currency: "USD", PaymentToken: "tok_ok", Plan: gaplessv1.Plan_PLAN_STANDARD,
		Items: []*gaplessv1.Item{
			{Sku: "A-1", Quantity: 2, UnitPriceMinor: 1000},
			{Sku: "B-1", Quantity: 1, UnitPriceMinor: 550},
			{Sku: "A-1", Quantity: 1, UnitPriceMinor: 1000}, // the same SKU twice
		},
		ShippingAddress: &gaplessv1.Address{Line1: "1 Main St", City: "Springfield", PostalCode: "94107", Country: "US"},
	}
	for _, f := range change {
		f(o)
	}
	return o
}

func token(t string) func(*gaplessv1.OrderPlaced) {
	return func(o *gaplessv1.OrderPlaced) { o.PaymentToken = t }
}

func flagged(o *gaplessv1.OrderPlaced) { o.ShippingAddress.PostalCode = "00000" }
func nowhere(o *gaplessv1.OrderPlaced) { o.ShippingAddress.Country = "XX" }
func tooMuch(o *gaplessv1.OrderPlaced) { o.Items[1].Quantity = 1000 }
func trial(o *gaplessv1.OrderPlaced)   { o.Plan = gaplessv1.Plan_PLAN_TRIAL }

func TestEveryOutcome(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name   string
		order  *gaplessv1.OrderPlaced
		during func(b *bus, id uuid.UUID) // once the pipeline has come to rest

		status, reason, stock string
		events                string // of the order, in version order
		charge                string // status of the order's one charge; "" is none
		reserved              int    // A-1 held for the order
	}{
		{
			name: "confirmed", order: order(), status: "confirmed", stock: "reserved", charge: "captured", reserved: 3,
			events: "OrderPlaced OrderConfirmed",
		},
		{name: "trial", order: order(trial), status: "confirmed", stock: "not_needed", events: "OrderPlaced OrderConfirmed"},
		{
			name: "out of stock", order: order(tooMuch), status: "cancelled", reason: "out_of_stock", stock: "rejected",
			events: "OrderPlaced OrderCancelled",
		},
		{
			name: "declined", order: order(token("tok_declined")), status: "cancelled", reason: "payment_declined", stock: "reserved",
			events: "OrderPlaced OrderCancelled",
		},
		{
			name: "unknown token", order: order(token("tok_x")), status: "cancelled", reason: "payment_declined", stock: "reserved",
			events: "OrderPlaced OrderCancelled",
		},
		{
			name: "flaky gateway", order: order(token("tok_flaky")), status: "confirmed", stock: "reserved", charge: "captured", reserved: 3,
			events: "OrderPlaced OrderConfirmed",
		},
		{
			name: "lost answer", order: order(token("tok_lost")), status: "confirmed", stock: "reserved", charge: "captured", reserved: 3,
			events: "OrderPlaced OrderConfirmed",
		},
		{
			name: "slow gateway", order: order(token("tok_slow")), status: "confirmed", stock: "reserved", charge: "captured", reserved: 3,
			events: "OrderPlaced OrderConfirmed",
		},
		{
			name: "not shippable", order: order(nowhere), status: "cancelled", reason: "fulfillment_failed", stock: "reserved", charge: "voided",
			events: "OrderPlaced OrderCancelled",
		},
		{
			name: "in review", order: order(flagged), status: "in_review", stock: "reserved", charge: "authorized", reserved: 3,
			events: "OrderPlaced OrderInReview",
		},
		{
			name: "approved", order: order(flagged), status: "confirmed", stock: "reserved", charge: "captured", reserved: 3,
			during: func(b *bus, id uuid.UUID) { b.tell(id, &gaplessv1.ApproveReview{OrderId: id.String()}) },
			events: "OrderPlaced OrderInReview OrderConfirmed",
		},
		{
			name: "rejected", order: order(flagged), status: "cancelled", reason: "review_rejected", stock: "reserved", charge: "voided",
			during: func(b *bus, id uuid.UUID) { b.tell(id, &gaplessv1.RejectReview{OrderId: id.String()}) },
			events: "OrderPlaced OrderInReview OrderCancelled",
		},
		{
			name: "cancelled in review", order: order(flagged), status: "cancelled", reason: "customer_cancelled", stock: "reserved", charge: "voided",
			during: (*bus).cancel,
			events: "OrderPlaced OrderInReview OrderCancelled",
		},
		{
			name: "cancelled too late", order: order(), status: "confirmed", stock: "reserved", charge: "captured", reserved: 3,
			during: (*bus).cancel,
			events: "OrderPlaced OrderConfirmed",
		},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			b := newBus(t, 1)
			b.stock(map[string]int{"A-1": 10, "B-1": 10})
			id := b.place(c.order)
			b.settle()
			if c.during != nil {
				c.during(b, id)
				b.settle()
			}
			b.expect(id, c.status, c.reason)
			if got := one[string](b, "select stock_status from checkout.orders where order_id = $1", id); got != c.stock {
				t.Errorf("stock_status = %s, want %s", got, c.stock)
			}
			if got := b.orderEvents(id); got != c.events {
				t.Errorf("order events = %s, want %s", got, c.events)
			}
			if got := one[string](b, "select coalesce(string_agg(status, ','), '') from sandbox.charges where order_id = $1", id); got != c.charge {
				t.Errorf("charges = %q, want %q", got, c.charge)
			}
			if got := one[int](b, "select 10 - available from inventory.stock where sku = 'A-1'"); got != c.reserved {
				t.Errorf("reserved %d of A-1, want %d", got, c.reserved)
			}
			b.conserved()
		})
	}
}

// The customer cancels after every single message of the pipeline: wherever the
// saga is then, the order ends cancelled with everything undone, or confirmed
// because it came too late.
func TestCancelAtEachStep(t *testing.T) {
	t.Parallel()
	outcomes := make(map[string]int)
	for n := range 14 {
		b := newBus(t, int64(n))
		b.stock(map[string]int{"A-1": 10, "B-1": 10})
		id := b.place(order())
		for range n {
			b.stepSaga()
		}
		b.cancel(id)
		b.settle()
		status := one[string](b, "select status from checkout.orders where order_id = $1", id)
		outcomes[status]++
		switch status {
		case "cancelled":
			b.expect(id, "cancelled", "customer_cancelled")
			if held := one[int](b, "select 10 - available from inventory.stock where sku = 'A-1'"); held != 0 {
				t.Errorf("after %d messages: %d pieces are still held", n, held)
			}
		case "confirmed":
		default:
			t.Errorf("after %d messages: status %s", n, status)
		}
		b.conserved()
	}
	if outcomes["cancelled"] < 5 || outcomes["confirmed"] == 0 {
		t.Errorf("outcomes = %v: the test did not reach every step", outcomes)
	}
}

// stepSaga lets one service have one message.
func (b *bus) stepSaga() {
	b.carry()
	for _, name := range []string{"inventory", "payment", "fulfillment", "saga"} {
		if b.deliver(name, 1) {
			return
		}
	}
}

// A cancellation read before the order itself: the topics have no common order.
func TestCancelOvertakesOrder(t *testing.T) {
	t.Parallel()
	b := newBus(t, 1)
	b.stock(map[string]int{"A-1": 10, "B-1": 10})
	id := b.place(order())
	b.cancel(id)
	b.carry()
	s := b.services["saga"]
	slices.SortStableFunc(s.pending, func(x, y *message) int { return strings.Compare(y.Topic, x.Topic) }) // saga.command first
	b.deliver("saga", 1)
	if got := one[string](b, "select status from gapless.saga where saga_id = $1", id); got != "waiting" {
		t.Fatalf("saga is %s before its order, want waiting", got)
	}
	b.settle()
	b.expect(id, "cancelled", "customer_cancelled")
	if n := one[int](b, "select count(*) from inventory.reservations"); n != 0 {
		t.Errorf("%d reservations of an order that was cancelled before it began", n)
	}
	b.conserved()
}

// Trace context and causation go from the order through every command and reply.
func TestTraceGoesThrough(t *testing.T) {
	t.Parallel()
	b := newBus(t, 1)
	b.stock(map[string]int{"A-1": 10, "B-1": 10})
	b.place(order())
	b.settle()
	if n := one[int](b, `select count(*) from gapless.outbox where headers->>'traceparent' is distinct from
		'00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01'`); n != 0 {
		t.Errorf("%d events without the order's trace", n)
	}
	if n := one[int](b, `select count(*) from gapless.outbox o where type <> 'OrderPlaced' and not exists (
		select from gapless.outbox c where c.id = (o.headers->>'ce_causationid')::uuid)`); n != 0 {
		t.Errorf("%d events whose cause is no event", n)
	}
	if n := one[int](b, "select count(*) from gapless.outbox where type <> 'OrderPlaced' and headers->>'ce_correlationid' is distinct from aggregateid"); n != 0 {
		t.Errorf("%d events without their saga", n)
	}
}

// A command that is a dead letter stops its saga for a person, forward and
// back; its timer does not compensate, and a redrive or an operator takes it up
// again.
func TestParkedCommandNeedsAttention(t *testing.T) {
	t.Parallel()
	b := newBus(t, 1)
	b.stock(map[string]int{"A-1": 10, "B-1": 10})
	id := b.place(order())
	b.carry()
	b.deliver("saga", 10)
	b.carry()
	command := b.services["inventory"].pending[0]
	good := command.Value
	command.Value = []byte("garbage")
	b.settle()
	b.expect(id, "needs_attention", "")
	if got := b.orderEvents(id); got != "OrderPlaced OrderNeedsAttention" {
		t.Errorf("order events = %s", got)
	}
	b.expire()
	b.settle()
	b.expect(id, "needs_attention", "")

	// What a redrive does, once the cause is mended.
	if _, err := b.admin.Exec(t.Context(), "delete from gapless.key_block"); err != nil {
		t.Fatal(err)
	}
	if _, err := b.admin.Exec(t.Context(), "delete from gapless.inbox where consumer = 'inventory'"); err != nil {
		t.Fatal(err)
	}
	command.Value = good
	b.services["inventory"].pending = append(b.services["inventory"].pending, command)
	b.settle()
	b.expect(id, "confirmed", "")
	b.conserved()
}

func TestMend(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		action         saga.Action
		status, reason string
	}{
		{saga.Retry, "confirmed", ""},
		{saga.Abort, "cancelled", "out_of_stock"},
	} {
		t.Run(string(c.action), func(t *testing.T) {
			t.Parallel()
			b := newBus(t, 1)
			b.stock(map[string]int{"A-1": 10, "B-1": 10})
			id := b.place(order())
			b.carry()
			b.deliver("saga", 10)
			b.carry()
			b.services["inventory"].pending[0].Value = []byte("garbage")
			b.settle()
			b.expect(id, "needs_attention", "")
			if _, err := b.admin.Exec(t.Context(), "delete from gapless.key_block"); err != nil {
				t.Fatal(err)
			}
			if err := b.saga.Mend(t.Context(), id, c.action, "ops", "a test"); err != nil {
				t.Fatal(err)
			}
			b.settle()
			b.expect(id, c.status, c.reason)
			if n := one[int](b, "select count(*) from gapless.audit where target = $1 and detail ->> 'operator' = 'ops' and actor <> 'ops'", id.String()); n != 1 {
				t.Errorf("%d audit rows, want 1", n)
			}
			if err := b.saga.Mend(t.Context(), id, c.action, "ops", "again"); err == nil {
				t.Error("a saga that needs no attention was mended")
			}
			b.conserved()
		})
	}
}

// A participant that never answers: the command is sent again, then given up
// and undone; late answers to what was given up move nothing.
func TestTimerGivesUp(t *testing.T) {
	t.Parallel()
	b := newBus(t, 1)
	b.stock(map[string]int{"A-1": 10, "B-1": 10})
	id := b.place(order())
	away := b.services["fulfillment"]
	delete(b.services, "fulfillment")
	b.settle()
	for range 3 { // Attempts
		b.expire()
	}
	if got := one[string](b, "select status || ' ' || step from gapless.saga where saga_id = $1", id); got != "compensating ship" {
		t.Fatalf("saga is %s, want compensating ship", got)
	}
	b.settle()
	if n := one[int](b, "select count(*) from gapless.outbox where type = 'CreateShipment'"); n != 3 {
		t.Errorf("CreateShipment was sent %d times, want 3", n)
	}
	if n := one[int](b, "select count(distinct headers->>'gapless_step') from gapless.outbox where type = 'CreateShipment'"); n != 1 {
		t.Errorf("CreateShipment went out under %d step ids, want 1", n)
	}

	// It comes back, and does in order what it was asked.
	b.services["fulfillment"] = away
	b.replay("fulfillment")
	b.settle()
	b.expect(id, "cancelled", "fulfillment_failed")
	if got := one[string](b, "select status from fulfillment.shipments where order_id = $1", id); got != "cancelled" {
		t.Errorf("the shipment is %s, want cancelled", got)
	}
	if n := one[int](b, "select count(*) from gapless.saga_ignored_reply where type = 'ShipmentCreated' and why = $1", saga.WhyNotFlight); n != 3 {
		t.Errorf("%d late replies are on record, want 3", n)
	}
	b.conserved()
}

// An undo that is never answered is not reported as done.
func TestCompensationThatFailsNeedsAttention(t *testing.T) {
	t.Parallel()
	b := newBus(t, 1)
	b.stock(map[string]int{"A-1": 10, "B-1": 10})
	id := b.place(order(token("tok_declined")))
	b.carry()
	b.deliver("saga", 10)
	b.carry()
	b.deliver("inventory", 10)
	away := b.services["inventory"]
	delete(b.services, "inventory")
	b.settle()
	for range 3 {
		b.expire()
	}
	b.settle()
	b.expect(id, "needs_attention", "compensation_failed")
	if got := b.orderEvents(id); got != "OrderPlaced OrderNeedsAttention" {
		t.Errorf("order events = %s", got)
	}
	b.services["inventory"] = away
	b.replay("inventory")
	b.settle()
	b.expect(id, "cancelled", "payment_declined")
	b.conserved()
}

// replay gives a service that was away what it has missed.
func (b *bus) replay(name string) {
	s := b.services[name]
	rows, err := b.admin.Query(b.t.Context(), "select id from gapless.outbox where aggregatetype = $1 order by xid, aggregate_version", name+".command")
	if err != nil {
		b.t.Fatal(err)
	}
	var id uuid.UUID
	rest := make([]uuid.UUID, 0)
	for rows.Next() {
		if err := rows.Scan(&id); err != nil {
			b.t.Fatal(err)
		}
		if !slices.ContainsFunc(s.applied, func(m *message) bool { return m.ID == id }) {
			rest = append(rest, id)
		}
	}
	if err := rows.Err(); err != nil {
		b.t.Fatal(err)
	}
	for _, id := range rest {
		delete(b.seen, id)
	}
}

// A reply must name the saga and the step in flight; what does not is kept and
// moves nothing.
func TestForeignRepliesAreIgnored(t *testing.T) {
	t.Parallel()
	b := newBus(t, 1)
	b.stock(map[string]int{"A-1": 10, "B-1": 10})
	id, other := b.place(order()), b.place(order())
	b.carry()
	b.deliver("saga", 10)
	forge := func(headers ...string) {
		m := &message{Topic: "outbox.event.stock", Key: []byte(id.String()), Value: fmt.Appendf(nil, `{"orderId":%q}`, id)}
		b.route(m)
		s := b.services["saga"]
		m = s.pending[len(s.pending)-1]
		m.Headers = []header{{Name: "ce_type", Value: []byte("StockReserved")}, {Name: "id", Value: []byte(uuid.NewString())}}
		for i := 0; i < len(headers); i += 2 {
			m.Headers = append(m.Headers, header{Name: headers[i], Value: []byte(headers[i+1])})
		}
	}
	step := saga.StepID(id, saga.Forward, saga.ReserveStock).String()
	forge()
	forge("ce_correlationid", "garbage", "gapless_step", step)
	forge("ce_correlationid", id.String())
	forge("ce_correlationid", other.String(), "gapless_step", step)
	forge("ce_correlationid", id.String(), "gapless_step", uuid.NewString())
	forge("ce_correlationid", id.String(), "gapless_step", saga.StepID(id, saga.Forward, saga.Ship).String())
	b.deliver("saga", 100)
	if got := one[string](b, "select string_agg(distinct step, ',') from gapless.saga"); got != saga.ReserveStock {
		t.Errorf("sagas are at %s: a foreign reply moved one", got)
	}
	if n := one[int](b, "select count(*) from gapless.saga_ignored_reply"); n != 6 {
		t.Errorf("%d replies are on record, want 6", n)
	}
	b.settle()
	b.expect(id, "confirmed", "")
	b.expect(other, "confirmed", "")
}

// The same order under another event id starts nothing.
func TestSecondOrderPlacedIsIgnored(t *testing.T) {
	t.Parallel()
	b := newBus(t, 1)
	b.stock(map[string]int{"A-1": 10, "B-1": 10})
	id := b.place(order())
	b.settle()
	s := b.services["saga"]
	i := slices.IndexFunc(s.applied, func(m *message) bool { return m.Type == "OrderPlaced" })
	again := *s.applied[i]
	again.ID = uuid.New()
	s.pending = append(s.pending, &again)
	b.settle()
	b.expect(id, "confirmed", "")
	if n := one[int](b, "select count(*) from gapless.saga_ignored_reply where type = 'OrderPlaced'"); n != 1 {
		t.Errorf("%d second orders are on record, want 1", n)
	}
	b.conserved()
}
