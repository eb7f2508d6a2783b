package verify_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/gapless/gapless/internal/kafkaserver"
	"github.com/gapless/gapless/internal/pgtest"
	"github.com/gapless/gapless/ops/verify"
	"github.com/gapless/gapless/sql"
)

func TestWhatIsRightHolds(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for range 5 {
		w.order("confirmed")
		w.order("cancelled")
	}
	_, again := w.order("confirmed")
	w.relay()
	w.send(again) // at least once
	w.commit()
	r := w.verify()
	if r.Broken() || len(r.Incomplete) > 0 {
		t.Fatalf("%v; incomplete: %v", breaches(r), r.Incomplete)
	}
	for _, v := range r.Invariants {
		if v.Judged == 0 || v.TooYoung > 0 {
			t.Errorf("%d %s: judged %d, too young %d", v.Number, v.Name, v.Judged, v.TooYoung)
		}
		for _, c := range v.Checks {
			if c.Judged == 0 && c.Name != "every message put aside is kept" {
				t.Errorf("%d %s: nothing was judged", v.Number, c.Name)
			}
		}
	}
	if r.Cut.Rows != 44 || r.Cut.Records != 45 || r.Cut.Repeats != 1 {
		t.Errorf("cut %+v", r.Cut)
	}
	var text bytes.Buffer
	if err := r.WriteText(&text); err != nil || !strings.Contains(text.String(), "every invariant holds") {
		t.Errorf("%v: %s", err, &text)
	}
	if body, err := json.Marshal(r); err != nil || !strings.Contains(string(body), `"number":7,"name":"read models","judged"`) {
		t.Errorf("%v: %s", err, body)
	}
}

func TestEmptyInstallationHolds(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.pass()
	if r := w.verify(); r.Broken() || len(r.Incomplete) > 0 {
		t.Errorf("%v; incomplete: %v", breaches(r), r.Incomplete)
	}
}

// TestEachBreachIsNamed plants one breach at a time in a world that is right
// otherwise. want is in the report of the invariant and of no other, unless the
// same wrong must be seen by two.
func TestEachBreachIsNamed(t *testing.T) {
	t.Parallel()
	// Constraints that stand in the way of a breach are dropped first: verify
	// must not trust what it is there to check.
	for _, tt := range []struct {
		name   string
		number int
		plant  func(w *world, order uuid.UUID, last event) (id string)
		also   []int // invariants that must see it too
	}{
		{"row that never reached Kafka", 1, func(w *world, order uuid.UUID, _ event) string {
			e := w.append("stock", order.String(), "StockReleased", 2, uuid.Nil)
			w.relay(e.id)
			return e.id.String()
		}, nil},
		{"row in another topic", 1, func(w *world, order uuid.UUID, _ event) string {
			e := w.append("stock", order.String(), "StockReleased", 2, uuid.Nil)
			wrong := e
			wrong.kind = "inventory.command"
			w.send(wrong)
			return e.id.String()
		}, []int{2}},
		{"record that a consumer passed over", 1, func(w *world, _ uuid.UUID, last event) string {
			w.exec("DELETE FROM gapless.inbox WHERE consumer = 'analytics' AND event_id = $1", last.id)
			return last.id.String()
		}, []int{7}},
		{"parked claim without its dead letter", 1, func(w *world, order uuid.UUID, _ event) string {
			e := w.append("stock", order.String(), "StockReleased", 2, uuid.Nil)
			w.claim("saga", e, w.send(e), "parked")
			w.commit()
			return e.id.String()
		}, nil},
		{"waiting claim without its message", 1, func(w *world, order uuid.UUID, _ event) string {
			e := w.append("stock", order.String(), "StockReleased", 2, uuid.Nil)
			w.claim("saga", e, w.send(e), "waiting")
			w.commit()
			return e.id.String()
		}, nil},
		{"record without a row", 2, func(w *world, order uuid.UUID, _ event) string {
			e := event{id: uuid.New(), kind: "stock", key: order.String(), typ: "StockReleased", version: 2, at: time.Now()}
			w.claim("saga", e, w.send(e), "ignored")
			return e.id.String()
		}, nil},
		{"record of a rolled back row", 2, func(w *world, order uuid.UUID, _ event) string {
			e := event{id: uuid.New(), kind: "stock", key: order.String(), typ: "StockReleased", at: time.Now()}
			tx, err := w.pool.Begin(w.Context())
			if err != nil {
				w.Fatal(err)
			}
			if _, err := tx.Exec(w.Context(), "INSERT INTO gapless.outbox (id, aggregatetype, aggregateid, type) VALUES ($1, 'stock', $2, $3)", e.id, e.key, e.typ); err != nil {
				w.Fatal(err)
			}
			w.send(e)
			if err := tx.Rollback(w.Context()); err != nil {
				w.Fatal(err)
			}
			return e.id.String()
		}, nil},
		{"record without an id", 2, func(w *world, _ uuid.UUID, _ event) string {
			r := &kgo.Record{Topic: w.prefix + "stock", Key: []byte("k"), Value: []byte("garbage")}
			if err := w.client.ProduceSync(w.Context(), r).FirstErr(); err != nil {
				w.Fatal(err)
			}
			return r.Topic
		}, nil},
		{"record under another key", 2, func(w *world, _ uuid.UUID, last event) string {
			last.key = uuid.NewString()
			w.send(last)
			return last.id.String()
		}, nil},
		{"event applied twice", 3, func(w *world, order uuid.UUID, _ event) string {
			cause := w.append("inventory.command", order.String(), "ReserveStock", 3, uuid.Nil)
			w.append("stock", order.String(), "StockReserved", 2, cause.id)
			w.append("stock", order.String(), "StockReserved", 3, cause.id)
			w.relay()
			return cause.id.String()
		}, nil},
		{"effect written twice", 3, func(w *world, order uuid.UUID, _ event) string {
			var id uuid.UUID
			if err := w.pool.QueryRow(w.Context(), "SELECT event_id FROM inventory.stock_movements WHERE order_id = $1 AND kind = 'reserve'", order).Scan(&id); err != nil {
				w.Fatal(err)
			}
			w.exec("ALTER TABLE inventory.stock_movements DROP CONSTRAINT stock_movements_order_id_sku_kind_key")
			w.exec("INSERT INTO inventory.stock_movements (sku, order_id, delta, kind, event_id) VALUES ('A-1', $1, -2, 'reserve', $2)", order, id)
			return id.String()
		}, []int{5}},
		{"effect without a claim", 3, func(w *world, order uuid.UUID, _ event) string {
			id := uuid.New()
			w.exec(`INSERT INTO notification.messages (message_id, event_id, order_id, customer_id, kind, subject, body) VALUES ('m', $1, $2, 'c-1', 'k', 's', 'b')`, id, order)
			return id.String()
		}, nil},
		{"two events of a key the wrong way round", 4, func(w *world, order uuid.UUID, _ event) string {
			second := w.append("stock", order.String(), "StockReleased", 3, uuid.Nil)
			first := w.append("stock", order.String(), "StockReserved", 2, uuid.Nil)
			w.relay()
			_ = second
			return first.id.String()
		}, nil},
		{"a version given twice", 4, func(w *world, order uuid.UUID, _ event) string {
			e := w.append("stock", order.String(), "StockReleased", 1, uuid.Nil)
			w.relay()
			return e.id.String()
		}, nil},
		{"stock that moved by itself", 5, func(w *world, _ uuid.UUID, _ event) string {
			w.exec("UPDATE inventory.stock SET available = available + 1")
			return "A-1"
		}, nil},
		{"movement without a reservation", 5, func(w *world, _ uuid.UUID, _ event) string {
			order := uuid.New()
			w.exec("INSERT INTO inventory.stock_movements (sku, order_id, delta, kind) VALUES ('A-1', $1, -1, 'reserve')", order)
			w.exec("UPDATE inventory.stock SET available = available - 1")
			return order.String()
		}, nil},
		{"reservation released in name only", 5, func(w *world, order uuid.UUID, _ event) string {
			w.exec("UPDATE inventory.reservations SET status = 'released' WHERE order_id = $1", order)
			return order.String()
		}, nil},
		{"order charged twice", 5, func(w *world, order uuid.UUID, _ event) string {
			w.exec(`INSERT INTO sandbox.charges (charge_id, order_id, token, status, currency, amount_minor, captured_minor) VALUES ('ch_2', $1, 'tok_lost', 'captured', 'USD', 900, 900)`, order)
			return order.String()
		}, nil},
		{"charge that we never heard of", 5, func(w *world, order uuid.UUID, _ event) string {
			w.exec("DELETE FROM payment.payments WHERE order_id = $1", order)
			return order.String()
		}, nil},
		{"payment that was never charged", 5, func(w *world, order uuid.UUID, _ event) string {
			w.exec("DELETE FROM sandbox.charges WHERE order_id = $1", order)
			return order.String()
		}, nil},
		{"confirmed order refunded on both sides", 5, func(w *world, order uuid.UUID, _ event) string {
			w.exec("UPDATE payment.payments SET status = 'refunded', refunded_minor = 900 WHERE order_id = $1", order)
			w.exec("UPDATE sandbox.charges SET status = 'refunded', refunded_minor = 900 WHERE order_id = $1", order)
			return order.String()
		}, nil},
		{"order in review that was captured", 5, func(w *world, order uuid.UUID, _ event) string {
			w.exec("UPDATE gapless.saga SET status = 'waiting', finished_at = NULL WHERE saga_id = $1", order)
			w.exec("UPDATE checkout.orders SET status = 'in_review', confirmed_at = NULL WHERE order_id = $1", order)
			w.exec("DELETE FROM loyalty.points")
			w.exec("DELETE FROM analytics.sales_by_hour")
			return order.String()
		}, nil},
		{"charge of an order that does not exist", 5, func(w *world, _ uuid.UUID, _ event) string {
			order := uuid.New()
			w.exec(`INSERT INTO sandbox.charges (charge_id, order_id, token, status, currency, amount_minor) VALUES ('ch_3', $1, 'tok_ok', 'authorized', 'USD', 1)`, order)
			return order.String()
		}, nil},
		{"saga past its deadline", 6, func(w *world, order uuid.UUID, _ event) string {
			w.exec("UPDATE gapless.saga SET status = 'running', finished_at = NULL, deadline = clock_timestamp() - interval '1 minute' WHERE saga_id = $1", order)
			return order.String()
		}, nil},
		{"saga that nothing will wake", 6, func(w *world, order uuid.UUID, _ event) string {
			w.exec("UPDATE gapless.saga SET status = 'compensating', finished_at = NULL WHERE saga_id = $1", order)
			return order.String()
		}, nil},
		{"saga stuck where nobody sees it", 6, func(w *world, order uuid.UUID, _ event) string {
			w.exec("UPDATE gapless.saga SET status = 'needs_attention', finished_at = NULL WHERE saga_id = $1", order)
			return order.String()
		}, nil},
		{"order without a saga", 6, func(w *world, order uuid.UUID, _ event) string {
			w.exec("DELETE FROM gapless.saga WHERE saga_id = $1", order)
			return order.String()
		}, nil},
		{"order never announced", 6, func(w *world, _ uuid.UUID, _ event) string {
			order := uuid.Must(uuid.NewV7())
			w.exec(`INSERT INTO checkout.orders (order_id, principal, customer_id, currency, total_minor, plan, payment_token, shipping_address)
				VALUES ($1, 'p', 'c-1', 'USD', 900, 'standard', 'tok_ok', '{}')`, order)
			return order.String()
		}, nil},
		{"sale counted twice", 7, func(w *world, _ uuid.UUID, _ event) string {
			w.exec("UPDATE analytics.sales_by_hour SET orders = orders + 1, revenue_minor = revenue_minor + 900")
			return "USD"
		}, nil},
		{"sale not counted", 7, func(w *world, _ uuid.UUID, _ event) string {
			w.exec("DELETE FROM analytics.sales_by_hour")
			return "USD"
		}, nil},
		{"wrong points", 7, func(w *world, order uuid.UUID, _ event) string {
			w.exec("UPDATE loyalty.points SET points = 8 WHERE order_id = $1", order)
			return order.String()
		}, nil},
		{"points not given", 7, func(w *world, order uuid.UUID, _ event) string {
			w.exec("DELETE FROM loyalty.points WHERE order_id = $1", order)
			return order.String()
		}, nil},
		{"message not written", 7, func(w *world, _ uuid.UUID, last event) string {
			w.exec("DELETE FROM notification.messages WHERE event_id = $1", last.id)
			return last.id.String()
		}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.order("cancelled")
			order, last := w.order("confirmed")
			w.relay()
			id := tt.plant(w, order, last)
			w.pass()
			r := w.verify()
			if !r.Broken() {
				t.Fatal("verify saw nothing")
			}
			expected := map[int]bool{tt.number: true}
			for _, n := range tt.also {
				expected[n] = true
			}
			for _, v := range r.Invariants {
				if (v.Broken > 0) != expected[v.Number] {
					t.Errorf("invariant %d: %d broken", v.Number, v.Broken)
				}
			}
			named := false
			for _, b := range breaches(r) {
				named = named || b[0] == byte('0'+tt.number) && strings.Contains(b, id)
			}
			var text bytes.Buffer
			if err := r.WriteText(&text); err != nil {
				t.Fatal(err)
			}
			if !named || !strings.Contains(text.String(), id) {
				t.Errorf("no breach of %d names %s:\n%s", tt.number, id, &text)
			}
		})
	}
}

func TestALaggingRelayIsNoLoss(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	order, _ := w.order("confirmed")
	w.relay()
	e := w.append("stock", order.String(), "StockReleased", 2, uuid.Nil)
	slot := w.lag()
	with := func(c *verify.Config) { c.Slot = slot }
	r := w.verify(with)
	if r.Broken() || r.Invariants[0].TooYoung != 1 {
		t.Errorf("%v, loss %+v", breaches(r), r.Invariants[0].Counts)
	}
	if len(r.Incomplete) != 1 || !strings.Contains(r.Incomplete[0], "stands at "+r.Cut.Relay+",") || !strings.Contains(r.Incomplete[0], "start 'gapless relay'") {
		t.Errorf("incomplete: %v", r.Incomplete)
	}
	if r.Holds() || r.Invariants[0].Verdict != verify.NotJudged || r.Invariants[1].Verdict != verify.Holds {
		t.Errorf("holds: %t, %+v", r.Holds(), r.Invariants[:2])
	}
	w.pass()
	if r := w.verify(); !r.Broken() || !strings.Contains(breaches(r)[0], e.id.String()) {
		t.Errorf("once the relay has passed it: %v", breaches(r))
	}
}

// A relay that has nothing to relay writes its record for whoever asks.
func TestAnIdleRelayIsAsked(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.order("confirmed")
	w.relay()
	slot := w.lag()
	asked := make(chan error, 1)
	go func() {
		for awaited, ignored, why := false, false, ""; !awaited; {
			if err := w.pool.QueryRow(t.Context(), sql.RelayControl, slot).Scan(&why, &ignored, &ignored, &awaited); err != nil {
				asked <- err
				return
			}
		}
		_, err := w.pool.Exec(t.Context(), "UPDATE gapless.relay_progress SET resume_lsn = 'F/0' WHERE slot = $1", slot)
		asked <- err
	}()
	r := w.verify(func(c *verify.Config) { c.Slot, c.Wait = slot, 30*time.Second })
	if err := <-asked; err != nil || !r.Holds() || r.Cut.Relay != "F/0" {
		t.Errorf("%v; %v; incomplete: %v, relay at %s", err, breaches(r), r.Incomplete, r.Cut.Relay)
	}
}

// TestAStoppedRelayThatSentEverything: its rows are judged by what Kafka has.
func TestAStoppedRelayThatSentEverything(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.order("confirmed")
	w.relay()
	slot := w.lag()
	if r := w.verify(func(c *verify.Config) { c.Slot = slot }); !r.Holds() || r.Invariants[0].TooYoung != 0 {
		t.Errorf("%v; incomplete: %v, %+v", breaches(r), r.Incomplete, r.Invariants[0].Counts)
	}
}

// TestASlotThatIsNoRelaysOfThisDatabase must not vouch for it.
func TestASlotThatIsNoRelaysOfThisDatabase(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	own := w.db.Slot(t, "verify")
	other := pgtest.NewDB(t)
	foreign := other.Slot(t, "verify")
	order, _ := w.order("confirmed")
	w.relay()
	w.exec("DELETE FROM gapless.relay_progress")
	w.append("stock", order.String(), "StockReleased", 2, uuid.Nil)
	// Ahead of all that this database has.
	if _, err := other.Pool(t).Exec(t.Context(), "SELECT pg_replication_slot_advance($1, pg_current_wal_flush_lsn())", foreign); err != nil {
		t.Fatal(err)
	}
	for slot, words := range map[string][]string{
		foreign:    {"is of database", other.Name, w.db.Name, "--slot", own},
		"misspelt": {"no relay has ever run", "misspelt", "--slot", own},
	} {
		began := time.Now()
		r := w.verify(func(c *verify.Config) {
			c.Slot = slot
			if slot == foreign {
				c.Wait = time.Minute // which would be for nothing
			}
		})
		if r.Broken() || r.Holds() || len(r.Incomplete) != 1 || r.Invariants[0].TooYoung != 1 || time.Since(began) > 30*time.Second {
			t.Fatalf("slot %s: %v, incomplete %v, %+v", slot, breaches(r), r.Incomplete, r.Invariants[0].Counts)
		}
		for _, word := range words {
			if !strings.Contains(r.Incomplete[0], word) {
				t.Errorf("%q is not in: %s", word, r.Incomplete[0])
			}
		}
	}
}

func TestWhatIsNotHereIsSaid(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.order("confirmed")
	w.relay()
	w.exec("DROP SCHEMA checkout CASCADE")
	r := w.verify()
	if !r.Holds() || len(r.Absent) != 1 || r.Invariants[4].Verdict != verify.NotHere || r.Invariants[0].Verdict != verify.Holds {
		t.Errorf("%v; incomplete %v, absent %v, %+v", breaches(r), r.Incomplete, r.Absent, r.Invariants)
	}
	var text bytes.Buffer
	if err := r.WriteText(&text); err != nil || strings.Contains(text.String(), "every invariant holds") || !strings.Contains(text.String(), "not here") {
		t.Errorf("%v: %s", err, &text)
	}
}

func TestWhatIsPutAsideIsShown(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	order, _ := w.order("confirmed")
	w.relay()
	// By the relay, by a consumer, and by a saga that waits for a person.
	e := w.append("stock", order.String(), "StockReleased", 2, uuid.Nil)
	w.exec(`INSERT INTO gapless.parked (slot, event_id, relation, topic, system_id, timeline, commit_lsn, commit_index, reason) VALUES ('gapless', $1, 'gapless.outbox', 't', '1', 1, '0/1', 0, 'too_large')`, e.id)
	e = w.append("stock", order.String(), "StockReleased", 3, uuid.Nil)
	record := w.send(e)
	w.claim("saga", e, record, "parked")
	w.exec(`INSERT INTO gapless.dead_letter (consumer, event_id, topic, partition, "offset", record_timestamp, reason, attempts, first_failed_at, last_failed_at)
		VALUES ('saga', $1, $2, $3, $4, now(), 'undecodable', 1, now(), now())`, e.id, record.Topic, record.Partition, record.Offset)
	w.events = nil
	review, _ := w.order("confirmed")
	w.relay()
	w.exec("UPDATE gapless.saga SET status = 'waiting', finished_at = NULL WHERE saga_id = $1", review)
	w.exec("UPDATE checkout.orders SET status = 'in_review', confirmed_at = NULL WHERE order_id = $1", review)
	w.exec("DELETE FROM loyalty.points WHERE order_id = $1", review)
	w.exec("UPDATE analytics.sales_by_hour SET orders = 1, revenue_minor = 900")
	w.exec("UPDATE payment.payments SET status = 'authorized', captured_minor = 0 WHERE order_id = $1", review)
	w.exec("UPDATE sandbox.charges SET status = 'authorized', captured_minor = 0 WHERE order_id = $1", review)
	w.commit()
	r := w.verify()
	if r.Broken() || r.Invariants[0].Parked != 3 || r.Invariants[5].Parked != 1 {
		t.Errorf("%v; loss %+v, termination %+v", breaches(r), r.Invariants[0].Counts, r.Invariants[5].Counts)
	}
	// Its charge, and what is held of it: both can be judged while it waits.
	if v := r.Invariants[4]; v.Parked != 2 || v.TooYoung != 0 {
		t.Errorf("conservation %+v", v.Counts)
	}
	w.exec("UPDATE gapless.saga SET status = 'compensating', deadline = clock_timestamp() + interval '1 minute' WHERE saga_id = $1", review)
	if v := w.verify().Invariants[4]; v.Parked != 0 || v.TooYoung != 2 {
		t.Errorf("conservation of an order that is on its way out of review: %+v", v.Counts)
	}
}

// TestAbortedRecordsAreNotThere ends a partition with the marker of an aborted
// transaction: its records are no phantoms, and reading comes to its end.
func TestAbortedRecordsAreNotThere(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.order("confirmed")
	w.relay()
	client := kafkaserver.Client(t, w.brokers, kgo.TransactionalID(kafkaserver.Name(t, "verify")), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	for partition := range int32(3) {
		if err := client.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		r := &kgo.Record{Topic: w.prefix + "stock", Partition: partition, Key: []byte("k"), Headers: []kgo.RecordHeader{{Key: "id", Value: []byte(uuid.NewString())}}}
		if err := client.ProduceSync(t.Context(), r).FirstErr(); err != nil {
			t.Fatal(err)
		}
		if err := client.EndTransaction(t.Context(), kgo.TryAbort); err != nil {
			t.Fatal(err)
		}
	}
	if r := w.verify(); r.Broken() || len(r.Incomplete) > 0 {
		t.Errorf("%v; incomplete: %v", breaches(r), r.Incomplete)
	}
}

func TestConfigNamesTheField(t *testing.T) {
	t.Parallel()
	_, err := verify.Run(t.Context(), verify.Config{Consumers: []verify.Consumer{{Name: "a"}, {Name: "a"}, {}}, Stall: -1})
	for _, field := range []string{"Pool", "Brokers", "Stall", "Consumers[1].Name", "Consumers[2].Name"} {
		if err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("%v does not name %s", err, field)
		}
	}
}
