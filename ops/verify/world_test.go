package verify_test

import (
	"context"
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/gapless/gapless/contracts"
	"github.com/gapless/gapless/internal/kafkaserver"
	"github.com/gapless/gapless/internal/pgtest"
	"github.com/gapless/gapless/ops/verify"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// world is an installation in which everything has gone right, until a test
// breaks it. Relay and consumers are played by hand, so that each can be made to
// do the one wrong thing.
type world struct {
	testing.TB
	db      *pgtest.DB
	url     string
	pool    *pgxpool.Pool
	brokers []string
	client  *kgo.Client
	prefix  string // of the topics, no other test's
	events  []event
}

type event struct {
	id      uuid.UUID
	kind    string // aggregate type
	key     string
	typ     string
	version int64
	cause   uuid.UUID
	at      time.Time
}

// takers are the consumers of each aggregate type.
var takers = map[string][]string{
	"order":             {"saga", "notification", "analytics", "loyalty"},
	"inventory.command": {"inventory"},
	"stock":             {"saga"},
}

func newWorld(t testing.TB) *world {
	db := pgtest.NewDB(t)
	w := &world{TB: t, db: db, url: db.LoginURL(t, pgtest.Readonly), pool: db.Pool(t), brokers: kafkaserver.ForTest(t), prefix: kafkaserver.Name(t, "verify.") + "."}
	w.client = kafkaserver.Client(t, w.brokers)
	for kind := range takers {
		kafkaserver.CreateTopic(t, w.brokers, w.prefix+kind, 3)
	}
	w.exec("INSERT INTO inventory.stock (sku, initial, available) VALUES ('A-1', 1000, 1000)")
	return w
}

func (w *world) exec(statement string, args ...any) {
	w.Helper()
	if _, err := w.pool.Exec(w.Context(), statement, args...); err != nil {
		w.Fatalf("%s: %v", statement, err)
	}
}

// append writes an outbox row.
func (w *world) append(kind, key, typ string, version int64, cause uuid.UUID) event {
	w.Helper()
	e := event{id: uuid.Must(uuid.NewV7()), kind: kind, key: key, typ: typ, version: version, cause: cause}
	headers := map[string]string{}
	if cause != uuid.Nil {
		headers["ce_causationid"] = cause.String()
	}
	err := w.pool.QueryRow(w.Context(), `INSERT INTO gapless.outbox (id, aggregatetype, aggregateid, aggregate_version, type, payload, headers)
		VALUES ($1, $2, $3, nullif($4::bigint, 0), $5, '{}', $6) RETURNING created_at`, e.id, kind, key, version, typ, headers).Scan(&e.at)
	if err != nil {
		w.Fatalf("append %s: %v", typ, err)
	}
	w.events = append(w.events, e)
	return e
}

// send plays the relay for one event and returns where it went.
func (w *world) send(e event) *kgo.Record {
	w.Helper()
	r := &kgo.Record{Topic: w.prefix + e.kind, Key: []byte(e.key), Value: []byte("{}"), Timestamp: e.at, Headers: []kgo.RecordHeader{
		{Key: "ce_id", Value: []byte(e.id.String())},
		{Key: "ce_type", Value: []byte(e.typ)},
		{Key: "id", Value: []byte(e.id.String())},
	}}
	if e.version > 0 {
		r.Headers = append(r.Headers, kgo.RecordHeader{Key: "ce_sequence", Value: []byte(strconv.FormatInt(e.version, 10))})
	}
	if err := w.client.ProduceSync(w.Context(), r).FirstErr(); err != nil {
		w.Fatalf("produce: %v", err)
	}
	return r
}

// claim plays a consumer.
func (w *world) claim(consumer string, e event, r *kgo.Record, outcome string) {
	w.Helper()
	w.exec(`INSERT INTO gapless.inbox (consumer, event_id, outcome, topic, partition, "offset") VALUES ($1, $2, $3, $4, $5, $6)`,
		consumer, e.id, outcome, r.Topic, r.Partition, r.Offset)
}

// relay sends every event and has it claimed; skip says which not.
func (w *world) relay(skip ...uuid.UUID) {
	w.Helper()
next:
	for _, e := range w.events {
		for _, id := range skip {
			if e.id == id {
				continue next
			}
		}
		r := w.send(e)
		for _, consumer := range takers[e.kind] {
			outcome := "applied"
			if consumer != "saga" && consumer != "inventory" && consumer != "notification" && e.typ != "OrderConfirmed" {
				outcome = "ignored"
			}
			w.claim(consumer, e, r, outcome)
		}
	}
	w.events = nil
	w.commit()
	w.pass()
}

// pass plays the relay's progress record: everything committed so far is sent.
func (w *world) pass() {
	w.Helper()
	w.exec(`INSERT INTO gapless.relay_progress (slot, system_id, timeline, resume_lsn) VALUES ('gapless', '1', 1, 'F/0')
		ON CONFLICT (slot) DO UPDATE SET resume_lsn = excluded.resume_lsn`)
}

// lag gives the record a slot that is there, and returns it: nothing is sent by that.
func (w *world) lag() (slot string) {
	w.Helper()
	slot = w.db.Slot(w.TB, "verify")
	w.exec("UPDATE gapless.relay_progress SET resume_lsn = '0/1', slot = $1", slot)
	return slot
}

// commit moves every group to the end of its topics.
func (w *world) commit() {
	w.Helper()
	admin := kadm.NewClient(w.client)
	for kind, consumers := range takers {
		ends, err := admin.ListEndOffsets(w.Context(), w.prefix+kind)
		if err != nil {
			w.Fatal(err)
		}
		for _, consumer := range consumers {
			if err := admin.CommitAllOffsets(w.Context(), contracts.Group(consumer, 1), ends.Offsets()); err != nil {
				w.Fatal(err)
			}
		}
	}
}

// order places an order for two pieces at 450 minor each, and brings it to its
// end: "confirmed" or "cancelled".
func (w *world) order(status string) (order uuid.UUID, last event) {
	w.Helper()
	order = uuid.Must(uuid.NewV7())
	w.exec(`INSERT INTO checkout.orders (order_id, principal, customer_id, currency, total_minor, plan, payment_token, shipping_address, status, reason, version, confirmed_at)
		VALUES ($1, 'p', 'c-1', 'USD', 900, 'standard', 'tok_ok', '{}', $2, CASE $2 WHEN 'cancelled' THEN 'fulfillment_failed' END, 2,
		        CASE $2 WHEN 'confirmed' THEN clock_timestamp() END)`, order, status)
	placed := w.append("order", order.String(), "OrderPlaced", 1, uuid.Nil)
	reserve := w.append("inventory.command", order.String(), "ReserveStock", 1, placed.id)
	w.append("stock", order.String(), "StockReserved", 1, reserve.id)
	sagaStatus, reservation, payment, refunded := "completed", "reserved", "captured", 0
	typ := "OrderConfirmed"
	if status == "cancelled" {
		sagaStatus, reservation, payment, refunded, typ = "cancelled", "released", "refunded", 900, "OrderCancelled"
	}
	last = w.append("order", order.String(), typ, 2, uuid.Nil)
	w.exec(`INSERT INTO gapless.saga (saga_id, type, order_id, status, finished_at) VALUES ($1, 'order', $1, $2, clock_timestamp())`, order, sagaStatus)
	w.exec(`INSERT INTO inventory.reservations (order_id, status, items) VALUES ($1, $2, '[{"sku": "A-1", "quantity": 2}]')`, order, reservation)
	w.exec(`INSERT INTO inventory.stock_movements (sku, order_id, delta, kind, event_id) VALUES ('A-1', $1, -2, 'reserve', $2)`, order, reserve.id)
	if status == "cancelled" {
		w.exec(`INSERT INTO inventory.stock_movements (sku, order_id, delta, kind) VALUES ('A-1', $1, 2, 'release')`, order)
	} else {
		w.exec(`UPDATE inventory.stock SET available = available - 2 WHERE sku = 'A-1'`)
	}
	w.exec(`INSERT INTO payment.payments (order_id, status, currency, amount_minor, captured_minor, refunded_minor, charge_id)
		VALUES ($1, $2, 'USD', 900, 900, $3, 'ch_' || $1::uuid)`, order, payment, refunded)
	w.exec(`INSERT INTO sandbox.charges (charge_id, order_id, token, status, currency, amount_minor, captured_minor, refunded_minor)
		VALUES ('ch_' || $1::uuid, $1, 'tok_ok', $2, 'USD', 900, 900, $3)`, order, payment, refunded)
	for _, e := range []event{placed, last} {
		w.exec(`INSERT INTO notification.messages (message_id, event_id, order_id, customer_id, kind, subject, body) VALUES ($1::uuid::text, $1, $2, 'c-1', 'k', 's', 'b')`, e.id, order)
	}
	if status == "confirmed" {
		w.exec(`INSERT INTO analytics.sales_by_hour SELECT date_trunc('hour', confirmed_at, 'UTC'), 'USD', 1, 900 FROM checkout.orders WHERE order_id = $1
			ON CONFLICT (hour, currency) DO UPDATE SET orders = sales_by_hour.orders + 1, revenue_minor = sales_by_hour.revenue_minor + 900`, order)
		w.exec(`INSERT INTO loyalty.points (order_id, customer_id, points, event_id) VALUES ($1, 'c-1', 9, $2)`, order, last.id)
	}
	return order, last
}

func (w *world) config() verify.Config {
	c := verify.Config{
		DatabaseURL: w.url, Brokers: w.brokers, TopicPrefix: w.prefix, Wait: -1, Young: -1,
	}
	for _, name := range []string{"saga", "notification", "analytics", "loyalty", "inventory"} {
		consumer := verify.Consumer{Name: name}
		for kind, names := range takers {
			for _, n := range names {
				if n == name {
					consumer.Topics = append(consumer.Topics, w.prefix+kind)
				}
			}
		}
		c.Consumers = append(c.Consumers, consumer)
	}
	return c
}

func (w *world) verify(change ...func(*verify.Config)) verify.Report {
	w.Helper()
	c := w.config()
	for _, f := range change {
		f(&c)
	}
	ctx, cancel := context.WithTimeout(w.Context(), time.Minute)
	defer cancel()
	report, err := verify.Run(ctx, c)
	if err != nil {
		w.Fatalf("verify: %v", err)
	}
	return report
}

// breaches lists what is broken as "number: check: id: detail".
func breaches(r verify.Report) []string {
	var list []string
	for _, v := range r.Invariants {
		for _, c := range v.Checks {
			for _, e := range c.Examples {
				list = append(list, fmt.Sprintf("%d: %s: %s: %s", v.Number, c.Name, e.ID, e.Detail))
			}
		}
	}
	return list
}
