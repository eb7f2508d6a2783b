package saga_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/gapless/gapless/consumers"
	"github.com/gapless/gapless/consumers/analytics"
	"github.com/gapless/gapless/consumers/fulfillment"
	"github.com/gapless/gapless/consumers/inventory"
	"github.com/gapless/gapless/consumers/loyalty"
	"github.com/gapless/gapless/consumers/notification"
	"github.com/gapless/gapless/consumers/payment"
	"github.com/gapless/gapless/consumers/saga"
	"github.com/gapless/gapless/contracts"
	"github.com/gapless/gapless/contracts/gaplessv1"
	"github.com/gapless/gapless/internal/pgtest"
	"github.com/gapless/gapless/outbox"
)

// bus is the pipeline without a broker: every service on its own inbox, as in
// production, on a login with a consumer's rights; what they write into the
// outbox and the dead letters is carried to whoever reads the topic.
type bus struct {
	t     testing.TB
	admin *pgxpool.Pool // checkout, and the test's own look at the tables
	pool  *pgxpool.Pool // of the services
	saga  *saga.Saga

	services map[string]*service
	seen     map[uuid.UUID]bool
	offsets  map[string]int64

	rnd     *rand.Rand
	rollers atomic.Int64 // transactions rolled back after all was applied
	chaos   chaos
}

type service struct {
	inbox   *consumers.Inbox
	topics  []string
	pending []*consumers.Message
	applied []*consumers.Message
}

// chaos says how badly messages are treated, each from 0 to 1.
type chaos struct {
	rollback  float64 // a transaction is rolled back after its handler
	duplicate float64 // a message comes once more, later
	reissue   float64 // a command or reply comes once more under another event id
	shuffle   float64 // what has no order in Kafka (topic, key) comes in another
	expire    float64 // all deadlines pass at once
}

func newBus(t testing.TB, seed int64) *bus {
	t.Helper()
	db := pgtest.NewDB(t)
	b := &bus{
		t: t, admin: db.Pool(t), pool: db.LoginPool(t, pgtest.Consumer),
		services: make(map[string]*service), seen: make(map[uuid.UUID]bool), offsets: make(map[string]int64),
		rnd: rand.New(rand.NewPCG(uint64(seed), 0)),
	}
	b.saga = saga.New(saga.Config{Pool: b.pool, Timeout: time.Hour, MaxTimeout: 4 * time.Hour, Attempts: 3})
	for _, c := range []consumers.Consumer{
		b.saga.Consumer(),
		inventory.New(inventory.Config{}),
		payment.New(payment.Config{DB: b.pool, Gateway: payment.NewSandbox(b.pool), Backoff: -1}),
		fulfillment.New(fulfillment.Config{}),
		notification.New(notification.Config{}).Consumer(),
		analytics.New(analytics.Config{}),
		loyalty.New(loyalty.Config{}),
	} {
		b.add(c)
	}
	return b
}

func (b *bus) add(c consumers.Consumer) {
	apply := c.ApplyBatch
	c.ApplyBatch = func(ctx context.Context, tx consumers.Tx, batch []consumers.Delivery) error {
		if err := apply(ctx, tx, batch); err != nil {
			return err
		}
		if b.rnd.Float64() < b.chaos.rollback {
			// Everything is written; now it never was. The process that died here
			// would leave the same.
			if _, err := tx.Exec(ctx, "select 1"); err != nil {
				return err
			}
			b.rollers.Add(1)
			return &pgconn.PgError{Code: "40001", Message: "rolled back by the test"}
		}
		return nil
	}
	inbox, err := consumers.NewInbox(consumers.Config{Pool: b.pool, MaxAttempts: 2, RetryBackoff: time.Millisecond}, c)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(inbox.Close)
	b.services[c.Name] = &service{inbox: inbox, topics: c.Topics}
}

// place does what the checkout does: order and event in one transaction.
func (b *bus) place(o *gaplessv1.OrderPlaced) uuid.UUID {
	b.t.Helper()
	id := uuid.Must(uuid.NewV7())
	o = proto.CloneOf(o)
	o.OrderId, o.PlacedAt = id.String(), timestamppb.Now()
	o.TotalMinor = 0
	for _, item := range o.Items {
		o.TotalMinor += int64(item.Quantity) * item.UnitPriceMinor
	}
	plan := "standard"
	if o.Plan == gaplessv1.Plan_PLAN_TRIAL {
		plan = "trial"
	}
	ctx := b.t.Context()
	err := pgx.BeginFunc(ctx, b.admin, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `insert into checkout.orders (order_id, principal, customer_id, currency, total_minor, plan, payment_token, shipping_address)
			values ($1, 'p', $2, $3, $4, $5, $6, '{}')`, id, o.CustomerId, o.Currency, o.TotalMinor, plan, o.PaymentToken)
		if err != nil {
			return err
		}
		return outbox.Append(ctx, tx, outbox.Event{
			AggregateType: contracts.Order, AggregateID: id.String(), AggregateVersion: 1, Message: o,
			Headers: map[string]string{"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"},
		})
	})
	if err != nil {
		b.t.Fatalf("place order: %v", err)
	}
	return id
}

// tell appends a command to the saga, as the API does.
func (b *bus) tell(order uuid.UUID, m proto.Message) {
	b.t.Helper()
	ctx := b.t.Context()
	err := pgx.BeginFunc(ctx, b.admin, func(tx pgx.Tx) error {
		return outbox.Append(ctx, tx, outbox.Event{AggregateType: contracts.SagaCommand, AggregateID: order.String(), Message: m})
	})
	if err != nil {
		b.t.Fatalf("tell the saga: %v", err)
	}
}

func (b *bus) cancel(order uuid.UUID) { b.tell(order, &gaplessv1.CancelOrder{OrderId: order.String()}) }

// settle carries messages until nothing moves any more.
func (b *bus) settle() {
	b.t.Helper()
	for b.step(500) {
	}
}

// step carries what is new and lets every service, in random order, have up to
// n messages. It reports whether anything moved.
func (b *bus) step(n int) bool {
	b.t.Helper()
	b.carry()
	moved := false
	names := slices.Sorted(maps.Keys(b.services))
	b.rnd.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
	for _, name := range names {
		if b.deliver(name, n) {
			moved = true
			b.carry()
		}
	}
	if b.chaos.expire > 0 && b.rnd.Float64() < b.chaos.expire {
		b.expire()
	}
	return moved
}

// deliver gives one service up to n of its messages.
func (b *bus) deliver(name string, n int) bool {
	b.t.Helper()
	s := b.services[name]
	n = min(n, len(s.pending))
	if n == 0 {
		return false
	}
	if b.rnd.Float64() < b.chaos.shuffle {
		s.pending = b.shuffled(s.pending)
	}
	batch := s.pending[:n:n]
	s.pending = s.pending[n:]
	ctx, cancel := context.WithTimeout(b.t.Context(), time.Minute)
	defer cancel()
	if _, err := s.inbox.Process(ctx, batch...); err != nil {
		b.t.Fatalf("%s: %v", name, err)
	}
	for _, m := range batch {
		if b.rnd.Float64() < b.chaos.duplicate {
			again := *m
			s.pending = append(s.pending, &again)
		}
		// Readers of events alone know an event by its id.
		if slices.Contains([]string{"saga", "inventory", "payment", "fulfillment"}, name) && b.rnd.Float64() < b.chaos.reissue {
			again := *m
			again.ID = uuid.New()
			s.pending = append(s.pending, &again)
		}
	}
	s.applied = append(s.applied, batch...)
	return true
}

// shuffled keeps the order within each topic and key, and no other.
func (b *bus) shuffled(list []*consumers.Message) []*consumers.Message {
	queues := make(map[string][]*consumers.Message)
	var keys []string
	for _, m := range list {
		key := m.Topic + " " + string(m.Key)
		if queues[key] == nil {
			keys = append(keys, key)
		}
		queues[key] = append(queues[key], m)
	}
	mixed := make([]*consumers.Message, 0, len(list))
	for len(keys) > 0 {
		i := b.rnd.IntN(len(keys))
		key := keys[i]
		mixed = append(mixed, queues[key][0])
		if queues[key] = queues[key][1:]; len(queues[key]) == 0 {
			keys = slices.Delete(keys, i, i+1)
		}
	}
	return mixed
}

// expire lets every deadline pass and the timer see it.
func (b *bus) expire() {
	b.t.Helper()
	if _, err := b.admin.Exec(b.t.Context(), "update gapless.saga set deadline = clock_timestamp() where deadline is not null"); err != nil {
		b.t.Fatal(err)
	}
	if err := b.saga.Expire(b.t.Context()); err != nil {
		b.t.Fatal(err)
	}
}

// carry is the relay: in commit order, and by version within a transaction.
func (b *bus) carry() {
	b.t.Helper()
	rows, err := b.admin.Query(b.t.Context(), `
		select id, aggregatetype, aggregateid, coalesce(aggregate_version, 0), type, payload, headers, created_at
		from gapless.outbox order by xid, aggregateid, aggregatetype, aggregate_version, id`)
	if err != nil {
		b.t.Fatal(err)
	}
	var (
		id                            uuid.UUID
		aggregateType, aggregate, typ string
		version                       int64
		payload                       []byte
		headers                       map[string]string
		at                            time.Time
	)
	_, err = pgx.ForEachRow(rows, []any{&id, &aggregateType, &aggregate, &version, &typ, &payload, &headers, &at}, func() error {
		row := headers
		headers = nil
		if b.seen[id] {
			return nil
		}
		b.seen[id] = true
		row["id"], row["ce_type"] = id.String(), typ
		if version > 0 {
			row["ce_sequence"] = strconv.FormatInt(version, 10)
		}
		m := &consumers.Message{Topic: contracts.Topic(aggregateType), Key: []byte(aggregate), Value: slices.Clone(payload), Timestamp: at}
		for _, name := range slices.Sorted(maps.Keys(row)) {
			m.Headers = append(m.Headers, consumers.Header{Name: name, Value: []byte(row[name])})
		}
		b.route(m)
		return nil
	})
	if err != nil {
		b.t.Fatal(err)
	}
	b.carryDeadLetters()
}

func (b *bus) carryDeadLetters() {
	b.t.Helper()
	rows, err := b.admin.Query(b.t.Context(), "select dead_letter_id, consumer, topic, key, value, headers from gapless.dead_letter order by dead_letter_id")
	if err != nil {
		b.t.Fatal(err)
	}
	var (
		id              uuid.UUID
		consumer, topic string
		key, value      []byte
		headers         json.RawMessage
	)
	_, err = pgx.ForEachRow(rows, []any{&id, &consumer, &topic, &key, &value, &headers}, func() error {
		if b.seen[id] {
			return nil
		}
		b.seen[id] = true
		var pairs [][]*string
		if err := json.Unmarshal(headers, &pairs); err != nil {
			return err
		}
		m := &consumers.Message{Topic: contracts.DeadLetterTopic(contracts.Group(consumer, 1), topic), Key: slices.Clone(key), Value: slices.Clone(value)}
		for _, pair := range pairs {
			text, err := base64.StdEncoding.DecodeString(*pair[1])
			if err != nil {
				return err
			}
			m.Headers = append(m.Headers, consumers.Header{Name: *pair[0], Value: text})
		}
		b.route(m)
		return nil
	})
	if err != nil {
		b.t.Fatal(err)
	}
}

func (b *bus) route(m *consumers.Message) {
	m.Offset = b.offsets[m.Topic]
	b.offsets[m.Topic]++
	for _, s := range b.services {
		if slices.Contains(s.topics, m.Topic) {
			own := *m
			s.pending = append(s.pending, &own)
		}
	}
}

// stock gives SKUs so many pieces.
func (b *bus) stock(skus map[string]int) {
	b.t.Helper()
	for sku, n := range skus {
		if _, err := b.admin.Exec(b.t.Context(), "insert into inventory.stock (sku, initial, available) values ($1, $2, $2)", sku, n); err != nil {
			b.t.Fatal(err)
		}
	}
}

// one reads a single value.
func one[T any](b *bus, query string, args ...any) T {
	b.t.Helper()
	var v T
	if err := b.admin.QueryRow(b.t.Context(), query, args...).Scan(&v); err != nil {
		b.t.Fatalf("%s: %v", query, err)
	}
	return v
}
