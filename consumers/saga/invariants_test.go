package saga_test

import (
	"context"
	"strings"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/gapless/gapless/consumers"
)

type (
	message = consumers.Message
	header  = consumers.Header
)

// expect compares an order's outcome.
func (b *bus) expect(id uuid.UUID, status, reason string) {
	b.t.Helper()
	got := one[string](b, "select status || ' ' || coalesce(reason, '') from checkout.orders where order_id = $1", id)
	if want := status + " " + reason; got != want {
		b.t.Errorf("order %s is %q, want %q; saga: %s; dead letters: %s", id, got, want,
			one[string](b, "select coalesce(string_agg(status || ' at ' || step, ','), 'none') from gapless.saga where saga_id = $1", id),
			one[string](b, "select coalesce(string_agg(consumer || ' ' || type || ' ' || error, '; '), 'none') from gapless.dead_letter"))
	}
}

// orderEvents are the types of an order's events, in version order.
func (b *bus) orderEvents(id uuid.UUID) string {
	b.t.Helper()
	rows, err := b.admin.Query(context.Background(),
		"select type from gapless.outbox where aggregatetype = 'order' and aggregateid = $1 order by aggregate_version", id.String())
	if err != nil {
		b.t.Fatal(err)
	}
	types, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		b.t.Fatal(err)
	}
	return strings.Join(types, " ")
}

// broken are queries that find what must not be, by what it is.
var broken = map[string]string{
	"stock is not initial plus movements": `
		select count(*) from inventory.stock s
		where available <> initial + coalesce((select sum(delta) from inventory.stock_movements m where m.sku = s.sku), 0)`,
	"stock is held for an order that is cancelled": `
		select count(*) from inventory.reservations r join checkout.orders o using (order_id)
		where o.status = 'cancelled' and r.status = 'reserved'`,
	"a confirmed order without its stock": `
		select count(*) from checkout.orders o left join inventory.reservations r using (order_id)
		where o.status = 'confirmed' and o.plan = 'standard' and r.status is distinct from 'reserved'`,
	"movements of an order do not add up to its reservation": `
		select count(*) from (
			select r.order_id from inventory.reservations r left join inventory.stock_movements m using (order_id)
			group by r.order_id, r.status
			having (r.status = 'reserved' and coalesce(sum(m.delta), 0) >= 0) or (r.status <> 'reserved' and coalesce(sum(m.delta), 0) <> 0)) x`,
	"an order with two charges": `
		select count(*) from (select from sandbox.charges group by order_id having count(*) > 1) x`,
	"a payment that the gateway knows otherwise": `
		select count(*) from payment.payments p full join sandbox.charges c using (charge_id)
		where (p.charge_id is not null or c.status <> 'voided')
		  and (p.charge_id is not null or c.charge_id is not null)
		  and (p.status, p.captured_minor, p.refunded_minor) is distinct from (c.status, c.captured_minor, c.refunded_minor)`,
	"money held for an order that is cancelled": `
		select count(*) from sandbox.charges c join checkout.orders o using (order_id)
		where o.status = 'cancelled' and (c.status = 'authorized' or c.captured_minor <> c.refunded_minor)`,
	"captured minus refunded is not the total of the confirmed paid orders": `
		select (select coalesce(sum(captured_minor - refunded_minor), 0) from sandbox.charges)::bigint
		     - (select coalesce(sum(total_minor), 0) from checkout.orders where status = 'confirmed' and plan = 'standard')::bigint`,
	"a shipment of an order that is cancelled": `
		select count(*) from fulfillment.shipments s join checkout.orders o using (order_id)
		where o.status = 'cancelled' and s.status = 'created'`,
	"a saga that is neither over nor waits": `
		select count(*) from gapless.saga where status in ('running', 'compensating')`,
	"a saga at odds with its order": `
		select count(*) from gapless.saga s join checkout.orders o using (order_id)
		where (s.status = 'completed') <> (o.status = 'confirmed') or (s.status = 'cancelled') <> (o.status = 'cancelled')`,
	"versions of an aggregate with a gap or twice": `
		select count(*) from (
			select from gapless.outbox where aggregate_version is not null group by aggregatetype, aggregateid
			having aggregatetype not like '%.command' and (min(aggregate_version) <> 1 or max(aggregate_version) <> count(*))
			    or count(distinct aggregate_version) <> count(*)) x`,
	"an order's version is not that of its last event": `
		select count(*) from checkout.orders o
		where version <> (select max(aggregate_version) from gapless.outbox where aggregatetype = 'order' and aggregateid = o.order_id::text)`,
	"sales by hour are not those of the orders": `
		select count(*) from (
			select date_trunc('hour', confirmed_at, 'UTC') as hour, currency, count(*) as orders, sum(total_minor)::bigint as revenue_minor
			from checkout.orders where status = 'confirmed' group by 1, 2) o
		full join analytics.sales_by_hour s using (hour, currency)
		where (o.orders, o.revenue_minor) is distinct from (s.orders, s.revenue_minor)`,
	"points are not those of the orders": `
		select count(*) from (select order_id, total_minor / 100 as points from checkout.orders where status = 'confirmed') o
		full join loyalty.points p using (order_id) where o.points is distinct from p.points`,
	"a confirmation or cancellation without its mail": `
		select count(*) from gapless.outbox o left join notification.messages m on m.event_id = o.id
		where o.aggregatetype = 'order' and m.event_id is null`,
	"a step of a finished saga that is still in flight": `
		select count(*) from gapless.saga_step t join gapless.saga s using (saga_id) where s.finished_at is not null and t.status = 'sent'`,
}

// conserved checks every invariant on a pipeline at rest.
func (b *bus) conserved() {
	b.t.Helper()
	for what, query := range broken {
		if n := one[int64](b, query); n != 0 {
			b.t.Errorf("%s: %d", what, n)
		}
	}
}
