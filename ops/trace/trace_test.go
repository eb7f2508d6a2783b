package trace_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/gapless/gapless/internal/kafkaserver"
	"github.com/gapless/gapless/internal/pgtest"
	"github.com/gapless/gapless/ops/trace"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

const traceID = "4bf92f3577b34da6a3ce929d0e0e4736"

// scene is an order that has come half its way.
type scene struct {
	testing.TB
	trace.Config
	pool   *pgxpool.Pool
	client *kgo.Client
	order  uuid.UUID
}

func newScene(t testing.TB) *scene {
	db := pgtest.NewDB(t)
	s := &scene{TB: t, pool: db.Pool(t), order: uuid.Must(uuid.NewV7())}
	s.Config = trace.Config{
		Pool: db.LoginPool(t, pgtest.App), Brokers: kafkaserver.ForTest(t), TopicPrefix: kafkaserver.Name(t, "trace.") + ".",
	}
	s.Consumers = []trace.Consumer{
		{Name: "saga", Topics: []string{s.TopicPrefix + "order", s.TopicPrefix + "stock"}},
		{Name: "loyalty", Topics: []string{s.TopicPrefix + "order"}},
	}
	s.client = kafkaserver.Client(t, s.Brokers)
	for _, kind := range []string{"order", "stock"} {
		kafkaserver.CreateTopic(t, s.Brokers, s.TopicPrefix+kind, 4)
	}
	s.exec(`INSERT INTO gapless.idempotency_key (principal, route, key, request_hash, order_id, status_code, body)
		VALUES ('p', 'POST /v1/orders', 'key-1', sha256(''), $1, 202, 'secret body')`, s.order)
	s.exec(`INSERT INTO checkout.orders (order_id, principal, customer_id, currency, total_minor, plan, payment_token, shipping_address, traceparent)
		VALUES ($1, 'p', 'c-1', 'USD', 900, 'standard', 'tok_secret', '{"line1": "secret street"}', $2)`, s.order, "00-"+traceID+"-00f067aa0ba902b7-01")
	s.exec(`INSERT INTO gapless.saga (saga_id, type, order_id, status, step, deadline) VALUES ($1, 'order', $1, 'running', 'reserve_stock', now() + interval '1 minute')`, s.order)
	s.exec(`INSERT INTO gapless.saga_step (saga_id, step, direction, step_id, status) VALUES ($1, 'reserve_stock', 'forward', gen_random_uuid(), 'sent')`, s.order)
	s.exec(`INSERT INTO inventory.reservations (order_id, status, items) VALUES ($1, 'reserved', '[]')`, s.order)
	s.exec(`INSERT INTO payment.payments (order_id, status, currency, amount_minor, charge_id) VALUES ($1, 'authorized', 'USD', 900, 'ch_1')`, s.order)
	s.exec(`INSERT INTO sandbox.charges (charge_id, order_id, token, status, currency, amount_minor) VALUES ('ch_1', $1, 't', 'authorized', 'USD', 900)`, s.order)
	s.exec(`INSERT INTO fulfillment.shipments (order_id, status, address, tracking_number) VALUES ($1, 'created', '{}', 'T-1')`, s.order)
	s.exec(`INSERT INTO notification.messages (message_id, event_id, order_id, customer_id, kind, subject, body) VALUES ('m-1', gen_random_uuid(), $1, 'c-1', 'receipt', 's', 'b')`, s.order)
	return s
}

func (s *scene) exec(statement string, args ...any) {
	s.Helper()
	if _, err := s.pool.Exec(s.Context(), statement, args...); err != nil {
		s.Fatalf("%s: %v", statement, err)
	}
}

func (s *scene) append(kind, typ string) (uuid.UUID, time.Time) {
	s.Helper()
	id := uuid.Must(uuid.NewV7())
	var at time.Time
	err := s.pool.QueryRow(s.Context(), `INSERT INTO gapless.outbox (id, aggregatetype, aggregateid, aggregate_version, type, payload, headers)
		VALUES ($1, $2, $3, 1, $4, 'secret payload', jsonb_build_object('traceparent', '00-' || $5::text || '-00f067aa0ba902b7-01')) RETURNING created_at`,
		id, kind, s.order.String(), typ, traceID).Scan(&at)
	if err != nil {
		s.Fatal(err)
	}
	return id, at
}

func (s *scene) send(id uuid.UUID, at time.Time) *kgo.Record {
	s.Helper()
	r := &kgo.Record{Topic: s.TopicPrefix + "order", Key: []byte(s.order.String()), Timestamp: at, Headers: []kgo.RecordHeader{
		{Key: "gapless_position", Value: []byte("1/0/16B3748/0")}, {Key: "id", Value: []byte(id.String())},
	}}
	if err := s.client.ProduceSync(s.Context(), r).FirstErr(); err != nil {
		s.Fatal(err)
	}
	return r
}

func (s *scene) claim(consumer string, id uuid.UUID, r *kgo.Record) {
	s.Helper()
	s.exec(`INSERT INTO gapless.inbox (consumer, event_id, topic, partition, "offset", position) VALUES ($1, $2, $3, $4, $5, '1/0/16B3748/0')`,
		consumer, id, r.Topic, r.Partition, r.Offset)
}

func (s *scene) tell(id string, change ...func(*trace.Config)) trace.Story {
	s.Helper()
	c := s.Config
	for _, f := range change {
		f(&c)
	}
	story, err := trace.Trace(s.Context(), c, id)
	if err != nil {
		s.Fatal(err)
	}
	return story
}

func text(t testing.TB, s trace.Story) string {
	t.Helper()
	var b bytes.Buffer
	if err := s.WriteText(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestStoryOfAnOrder(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.send(uuid.New(), time.Now().Add(-time.Hour)) // an older order's
	placed, at := s.append("order", "OrderPlaced")
	record := s.send(placed, at)
	s.send(placed, at) // at least once
	s.claim("saga", placed, record)
	waiting, _ := s.append("stock", "StockReserved")

	story := s.tell(s.order.String())
	if story.Kind != "order" || story.Status != "pending" || story.TraceID != traceID || len(story.Events) != 2 || len(story.Notes) != 0 {
		t.Errorf("story: %+v", story)
	}
	// People read money, programs count it.
	if printed := text(t, story); !strings.Contains(printed, "placed by c-1: 9.00 USD") || strings.Count(printed, "authorized, 9.00 USD (captured 0.00, refunded 0.00)") != 2 {
		t.Errorf("money:\n%s", printed)
	}
	if body, err := json.Marshal(story); err != nil || !strings.Contains(string(body), `"total_minor":900`) || !strings.Contains(string(body), `"amount_minor":900`) {
		t.Errorf("%v: %s", err, body)
	}
	r := story.Events[0].Record
	if r == nil || r.Partition != record.Partition || r.Offset != record.Offset || r.Position != "1/0/16B3748/0" || r.Repeats != 1 {
		t.Errorf("record %+v, want %d@%d", r, record.Partition, record.Offset)
	}
	var missing []string
	for _, e := range story.Missing() {
		missing = append(missing, e.Store+": "+e.What)
	}
	want := "inbox: loyalty has not taken OrderPlaced 1 yet; kafka: StockReserved 1 is not in Kafka yet; inbox: saga has not taken StockReserved 1 yet"
	if got := strings.Join(missing, "; "); got != want {
		t.Errorf("missing %q, want %q", got, want)
	}

	out := text(t, story)
	last := 0
	for _, line := range []string{
		"POST /v1/orders answered 202", "placed by c-1: 9.00 USD, standard", "started", "reservation reserved", "authorized, 9.00 USD",
		"created T-1", "receipt pending", "OrderPlaced 1 for", "from LSN 0/16B3748, sent 2 times", "saga: OrderPlaced 1 applied", "missing",
	} {
		i := strings.Index(out[last:], line)
		if i < 0 {
			t.Fatalf("%q is not there, or not in its place:\n%s", line, out)
		}
		last += i
	}
	body, err := json.Marshal(story)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(body)+out, "secret") {
		t.Errorf("the story tells a secret:\n%s", body)
	}
	_ = waiting
}

func TestEveryIDLeadsToTheSameStory(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	event, at := s.append("order", "OrderPlaced")
	s.send(event, at)
	saga := uuid.New()
	s.exec("DELETE FROM gapless.saga")
	s.exec("INSERT INTO gapless.saga (saga_id, type, order_id, status) VALUES ($1, 'order', $2, 'running')", saga, s.order)
	want := s.tell(s.order.String())
	for id, kind := range map[string]string{
		event.String(): "event", saga.String(): "saga", traceID: "trace", strings.ToUpper(traceID): "trace",
		strings.ReplaceAll(s.order.String(), "-", ""): "order",
	} {
		story := s.tell(id)
		if story.Kind != kind || story.Key != want.Key || len(story.Entries) != len(want.Entries) {
			t.Errorf("%s: kind %q, key %q, %d entries, want %q, %q, %d", id, story.Kind, story.Key, len(story.Entries), kind, want.Key, len(want.Entries))
		}
	}
	for id, want := range map[string]error{uuid.NewString(): trace.ErrNotFound, "order-1": trace.ErrBadID, "": trace.ErrBadID, "%": trace.ErrBadID} {
		if _, err := trace.Trace(t.Context(), s.Config, id); !errors.Is(err, want) {
			t.Errorf("%q: %v, want %v", id, err, want)
		}
	}
}

func TestWithoutKafkaNothingIsCalledMissingThere(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	claimed, at := s.append("order", "OrderPlaced")
	s.claim("saga", claimed, s.send(claimed, at))
	s.append("stock", "StockReserved")
	story := s.tell(s.order.String(), func(c *trace.Config) { c.Brokers = nil })
	if r := story.Events[0].Record; r == nil || r.Position == "" {
		t.Errorf("the claim knows the place: %+v", r)
	}
	for _, e := range story.Missing() {
		if e.Store == "kafka" {
			t.Errorf("Kafka was not asked: %+v", e)
		}
	}
	// Kafka away is a note, not a failure.
	story = s.tell(s.order.String(), func(c *trace.Config) { c.Brokers, c.KafkaTimeout = []string{"127.0.0.1:1"}, 100*time.Millisecond })
	if len(story.Notes) != 1 || len(story.Events) != 2 {
		t.Errorf("notes %v", story.Notes)
	}
}

func TestWhatWasPutAsideIsTold(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	parked, at := s.append("stock", "StockReserved")
	s.exec(`INSERT INTO gapless.parked (slot, event_id, relation, topic, system_id, timeline, commit_lsn, commit_index, reason) VALUES ('gapless', $1, 'gapless.outbox', 't', '1', 1, '0/1', 0, 'too_large')`, parked)
	s.exec(`INSERT INTO gapless.dead_letter (consumer, event_id, topic, partition, "offset", record_timestamp, reason, attempts, first_failed_at, last_failed_at)
		VALUES ('saga', $1, 't', 0, 0, now(), 'undecodable', 3, now(), $2)`, parked, at)
	out := text(t, s.tell(s.order.String()))
	for _, line := range []string{"parked: too_large", "saga gave up after 3 attempts: undecodable (parked)"} {
		if !strings.Contains(out, line) {
			t.Errorf("%q is not there:\n%s", line, out)
		}
	}
	// An event whose row has gone is found by what is left of it.
	s.exec("DELETE FROM gapless.outbox")
	if story := s.tell(parked.String()); !strings.Contains(text(t, story), "gave up") {
		t.Errorf("story of a row that has gone: %+v", story)
	}
}

func ExampleTrace() {
	var ctx context.Context // the program's
	var pool *pgxpool.Pool
	tell := func(id string) error {
		story, err := trace.Trace(ctx, trace.Config{Pool: pool, Brokers: []string{"127.0.0.1:9092"}}, id)
		if err != nil {
			return err
		}
		return story.WriteText(os.Stdout)
	}
	_ = tell
}

func ExampleStory_WriteText() {
	at := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	later := at.Add(3 * time.Millisecond)
	story := trace.Story{Query: "42", Kind: "order", Key: "42", Status: "pending", Entries: []trace.Entry{
		{At: &at, Store: "outbox", What: "OrderPlaced 1 for outbox.event.order"},
		{Store: "kafka", What: "outbox.event.order/3@17 from LSN 0/16B3748"},
		{At: &later, Store: "inbox", What: "saga: OrderPlaced 1 applied"},
		{Store: "inbox", What: "loyalty has not taken OrderPlaced 1 yet", Missing: true},
	}}
	var b strings.Builder
	_ = story.WriteText(&b)
	for line := range strings.Lines(b.String()) {
		fmt.Println(strings.TrimRight(line, " \n"))
	}
	// Output:
	// order 42, pending
	//
	// 2026-11-23 12:00:00.000  +0 ms  outbox  OrderPlaced 1 for outbox.event.order
	//                                 kafka   outbox.event.order/3@17 from LSN 0/16B3748
	// 12:00:00.003             +3 ms  inbox   saga: OrderPlaced 1 applied
	// missing                         inbox   loyalty has not taken OrderPlaced 1 yet
}
