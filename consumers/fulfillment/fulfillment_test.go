package fulfillment_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/uuid"
	"google.golang.org/protobuf/proto"

	"github.com/gapless/gapless/consumers"
	"github.com/gapless/gapless/consumers/consumerstest"
	"github.com/gapless/gapless/consumers/fulfillment"
	"github.com/gapless/gapless/contracts"
	"github.com/gapless/gapless/contracts/gaplessv1"
	"github.com/gapless/gapless/internal/pgtest"
)

func ExampleNew() {
	c := fulfillment.New(fulfillment.Config{})
	fmt.Println(c.Name, c.Topics, c.Types)
	// Output: fulfillment [outbox.event.fulfillment.command] [CreateShipment CancelShipment]
}

type fixture struct {
	*consumerstest.Harness
	t  *testing.T
	db *pgtest.DB
}

func setup(t *testing.T) *fixture {
	t.Helper()
	db := pgtest.NewDB(t)
	return &fixture{consumerstest.New(t, db.LoginURL(t, pgtest.Consumer), fulfillment.New(fulfillment.Config{})), t, db}
}

func (f *fixture) command(order uuid.UUID, m proto.Message) *consumers.Message {
	return f.Event(contracts.FulfillmentCommand, order.String(), m, consumers.Header{Name: "gapless_step", Value: []byte(uuid.NewString())})
}

func (f *fixture) create(order uuid.UUID, line1, country string) *consumers.Message {
	return f.command(order, &gaplessv1.CreateShipment{
		OrderId: order.String(), Address: &gaplessv1.Address{Line1: line1, City: "Springfield", PostalCode: "94107", Country: country},
	})
}

func (f *fixture) cancel(order uuid.UUID) *consumers.Message {
	return f.command(order, &gaplessv1.CancelShipment{OrderId: order.String()})
}

func (f *fixture) expect(order uuid.UUID, replies, status string) {
	f.t.Helper()
	var list []string
	for _, e := range f.Emitted() {
		if e.AggregateID != order.String() {
			continue
		}
		if list = append(list, e.Type); *e.AggregateVersion != int64(len(list)) {
			f.t.Errorf("%s has version %d, want %d", e.Type, *e.AggregateVersion, len(list))
		}
		if e.Headers["gapless_step"] == "" || e.AggregateType != contracts.Shipment {
			f.t.Errorf("%s went to %s with step %q", e.Type, e.AggregateType, e.Headers["gapless_step"])
		}
	}
	if got := strings.Join(list, " "); got != replies {
		f.t.Errorf("replies = %s, want %s", got, replies)
	}
	if n := f.Int("select count(*) from fulfillment.shipments where order_id = $1 and status = $2", order, status); n != 1 {
		f.t.Errorf("the shipment is not %s", status)
	}
}

func TestShipments(t *testing.T) {
	t.Parallel()
	f := setup(t)
	sent, nowhere, refused, cancelled, overtaken := uuid.New(), uuid.New(), uuid.New(), uuid.New(), uuid.New()
	f.Feed(
		f.create(sent, "1 Main St", "US"),
		f.create(nowhere, "1 Main St", "XX"),
		f.create(refused, "FAIL", "US"),
		f.create(cancelled, "1 Main St", "US"),
		f.cancel(overtaken),
		f.create(sent, "1 Main St", "US"), // the same command, another event id
		f.cancel(cancelled),
		f.cancel(nowhere),
		f.create(overtaken, "1 Main St", "US"),
		f.create(cancelled, "1 Main St", "US"),
		f.cancel(cancelled),
	)
	f.expect(sent, "ShipmentCreated ShipmentCreated", "created")
	f.expect(nowhere, "ShipmentFailed ShipmentCancelled", "failed")
	f.expect(refused, "ShipmentFailed", "failed")
	f.expect(cancelled, "ShipmentCreated ShipmentCancelled ShipmentFailed ShipmentCancelled", "cancelled")
	f.expect(overtaken, "ShipmentCancelled ShipmentFailed", "cancelled")

	var tracking []string
	for _, e := range f.Emitted() {
		if m, ok := f.Decode(e).(*gaplessv1.ShipmentCreated); ok && m.GetOrderId() == sent.String() {
			tracking = append(tracking, m.GetTrackingNumber())
			if m.GetAddress().GetPostalCode() != "94107" {
				t.Errorf("address = %v", m.GetAddress())
			}
		}
	}
	if len(tracking) != 2 || tracking[0] != tracking[1] || tracking[0] == "" {
		t.Errorf("tracking numbers = %v, want one, twice", tracking)
	}
}

func TestPoison(t *testing.T) {
	t.Parallel()
	f := setup(t)
	good := uuid.New()
	f.Feed(
		f.Record(contracts.FulfillmentCommand, "k", "CreateShipment", []byte{0, 0, 0, 0, 1, 0, 0xff}),
		f.create(good, "1 Main St", "US"),
	)
	f.expect(good, "ShipmentCreated", "created")
	if n := len(f.DeadLetters()); n != 1 {
		t.Errorf("%d dead letters, want 1", n)
	}
}

func TestCrashes(t *testing.T) {
	t.Parallel()
	f := setup(t)
	h := consumerstest.New(t, f.db.URL, fulfillment.New(fulfillment.Config{}))
	a, b := uuid.New(), uuid.New()
	messages := []*consumers.Message{f.create(a, "x", "US"), f.create(b, "x", "XX"), f.cancel(a)}
	pool := f.db.Pool(t)
	h.Repeatedly(messages, func() string {
		return h.Text("select (select string_agg(status || version, ',' order by order_id) from fulfillment.shipments) || ' ' || (select count(*) from gapless.outbox)")
	}, func() {
		if _, err := pool.Exec(t.Context(), "truncate fulfillment.shipments, gapless.outbox"); err != nil {
			t.Fatal(err)
		}
	})
}
