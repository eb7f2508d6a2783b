package saga_test

import (
	"testing"
)

// A checker that never said no proves nothing: each invariant of conserved is
// broken by hand, and must be found by its own query.
func TestInvariantsFindTheirBreach(t *testing.T) {
	t.Parallel()
	b := newBus(t, 1)
	b.stock(map[string]int{"A-1": 100, "B-1": 100})
	b.place(order())
	b.place(order(nowhere))
	b.place(order(trial))
	b.settle()
	b.conserved()

	const (
		confirmed = "(select order_id from checkout.orders where status = 'confirmed' and plan = 'standard')"
		cancelled = "(select order_id from checkout.orders where status = 'cancelled')"
	)
	breaches := map[string]string{
		"stock is not initial plus movements":                    "update inventory.stock set available = available - 1",
		"stock is held for an order that is cancelled":           "update inventory.reservations set status = 'reserved' where order_id = " + cancelled,
		"a confirmed order without its stock":                    "delete from inventory.reservations where order_id = " + confirmed,
		"movements of an order do not add up to its reservation": "delete from inventory.stock_movements where kind = 'release'",
		"an order with two charges": `insert into sandbox.charges (charge_id, order_id, token, status, currency, amount_minor)
			select 'second', order_id, token, 'voided', currency, amount_minor from sandbox.charges where order_id = ` + confirmed,
		"a payment that the gateway knows otherwise":                            "update sandbox.charges set status = 'authorized', captured_minor = 0 where order_id = " + confirmed,
		"money held for an order that is cancelled":                             "update sandbox.charges set status = 'authorized' where order_id = " + cancelled,
		"captured minus refunded is not the total of the confirmed paid orders": "update sandbox.charges set captured_minor = captured_minor - 1 where order_id = " + confirmed,
		"a shipment of an order that is cancelled": `insert into fulfillment.shipments (order_id, status, address)
			select order_id, 'created', '{}' from checkout.orders where status = 'cancelled'
			on conflict (order_id) do update set status = 'created'`,
		"a saga that is neither over nor waits":             "update gapless.saga set status = 'running', finished_at = null",
		"a saga at odds with its order":                     "update checkout.orders set status = 'confirmed', confirmed_at = now() where status = 'cancelled'",
		"versions of an aggregate with a gap or twice":      "delete from gapless.outbox where type = 'PaymentAuthorized'",
		"an order's version is not that of its last event":  "update checkout.orders set version = version + 1",
		"sales by hour are not those of the orders":         "update analytics.sales_by_hour set orders = orders + 1",
		"points are not those of the orders":                "delete from loyalty.points where order_id = " + confirmed,
		"a confirmation or cancellation without its mail":   "delete from notification.messages where kind = 'cancelled'",
		"a step of a finished saga that is still in flight": "update gapless.saga_step set status = 'sent' where step = 'ship'",
	}
	ctx := t.Context()
	for what, query := range broken {
		breach, ok := breaches[what]
		if !ok {
			t.Errorf("%s: no breach is planted", what)
			continue
		}
		tx, err := b.admin.Begin(ctx)
		if err != nil {
			t.Fatal(err)
		}
		tag, err := tx.Exec(ctx, breach)
		if err != nil {
			t.Fatalf("%s: plant: %v", what, err)
		}
		if tag.RowsAffected() == 0 {
			t.Errorf("%s: the breach changed nothing", what)
		}
		var n int64
		if err := tx.QueryRow(ctx, query).Scan(&n); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if n == 0 {
			t.Errorf("%s: the breach was not found", what)
		}
		if err := tx.Rollback(ctx); err != nil {
			t.Fatal(err)
		}
	}
}
