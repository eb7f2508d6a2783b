package consumers_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/gapless/gapless/consumers"
	"github.com/gapless/gapless/outbox"
)

const topic = "outbox.event.order"

func TestCommitsPerEvent(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	in := newInbox(t, consumers.Config{Pool: d.pool}, effectConsumer())
	const events = 10_000
	list := messages(t, events)
	process(t, in, list[:1]...) // the connection's own start-up

	// Transactions that wrote: the database's whole count also has this test's
	// own queries and the server's upkeep.
	before := d.int(t, "SELECT pg_current_xact_id()::text::bigint")
	process(t, in, list...)
	after := d.int(t, "SELECT pg_current_xact_id()::text::bigint")
	if got := d.int(t, "SELECT count(*) FROM effect"); got != events {
		t.Fatalf("%d effects of %d events", got, events)
	}
	commits := d.int(t, "SELECT count(DISTINCT xmin::text) FROM effect")
	t.Logf("%d transactions with effects for %d events; the server's xid went on by %d", commits, events, after-before)
	if perEvent := float64(commits) / events; perEvent > 0.05 {
		t.Errorf("%.3f commits an event, want at most 0.05", perEvent)
	}
}

func TestDuplicates(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	in := newInbox(t, consumers.Config{Pool: d.pool, BatchSize: 4}, effectConsumer())
	m := message(t, 0, "a", "good")
	copyAt := func(partition int32, offset int64) *consumers.Message {
		second := *m
		second.Partition, second.Offset = partition, offset
		second.Value = []byte("other content") // the first one counts, whatever the later says
		return &second
	}
	got := process(t, in,
		m, copyAt(0, 1), message(t, 2, "b", "good"), copyAt(1, 0), // within a batch, and from another partition
		copyAt(0, 3), copyAt(1, 1), // in the next batch
	)
	want := []consumers.Outcome{consumers.Applied, consumers.Duplicate, consumers.Applied, consumers.Duplicate, consumers.Duplicate, consumers.Duplicate}
	if !slices.Equal(got, want) || d.effects(t) != "a b" {
		t.Errorf("outcomes %v, effects %q; want %v and a b", got, d.effects(t), want)
	}
	if value := d.text(t, `SELECT topic || '/' || partition || '/' || "offset" FROM gapless.inbox WHERE event_id = $1`, m.ID); value != topic+"/0/0" {
		t.Errorf("claimed as %s, want the first occurrence", value)
	}
}

// Each rule of doc.go for records that are not as they should be.
func TestOddRecords(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	var delivered []string
	consumer := consumers.Consumer{
		Name: "odd", Topics: []string{topic}, Types: []string{"Known"},
		Apply: func(_ context.Context, _ consumers.Tx, d consumers.Delivery) error {
			if d.Value != nil && string(d.Value) != "good" {
				return consumers.Poison("undecodable", errors.New("no message"))
			}
			delivered = append(delivered, string(d.Key))
			return nil
		},
	}
	in := newInbox(t, consumers.Config{Pool: d.pool}, consumer)
	header := func(pairs ...string) (list []consumers.Header) {
		for i := 0; i < len(pairs); i += 2 {
			list = append(list, consumers.Header{Name: pairs[i], Value: []byte(pairs[i+1])})
		}
		return list
	}
	at := int64(0)
	record := func(key string, value []byte, headers []consumers.Header) *consumers.Message {
		at++
		return &consumers.Message{Topic: topic, Offset: at, Key: []byte(key), Value: value, Headers: headers, Timestamp: time.Now()}
	}
	good := []byte("good")
	outcomes := process(t, in,
		record("tombstone", nil, header("ce_type", "Known", "id", uuid.NewString())),
		record("bare-tombstone", nil, nil),
		record("unknown-type", good, header("ce_type", "Strange", "id", uuid.NewString())),
		record("no-id", good, header("ce_type", "Known")),
		record("foreign-id", good, header("ce_type", "Known", "id", "order-17")),
		record("foreign-id-again", good, header("ce_type", "Known", "ce_id", "order-17")),
		record("undecodable", []byte{0xff, 0}, header("ce_type", "Known", "id", uuid.NewString())),
		record("no-type", good, header("id", uuid.NewString())),
		record("no-type", good, header("ce_type", "Known", "id", uuid.NewString())),
	)
	want := []consumers.Outcome{
		consumers.Applied, consumers.Ignored, consumers.Ignored, consumers.Applied, consumers.Applied, consumers.Duplicate,
		consumers.Parked, consumers.Parked, consumers.Waiting,
	}
	if !slices.Equal(outcomes, want) {
		t.Errorf("outcomes %v\nwant     %v", outcomes, want)
	}
	if !slices.Equal(delivered, []string{"tombstone", "no-id", "foreign-id"}) && len(delivered) > 0 {
		// After the poison the batch runs singly: each good one is delivered again.
		for _, key := range delivered {
			if !slices.Contains([]string{"tombstone", "no-id", "foreign-id"}, key) {
				t.Errorf("%s reached the handler", key)
			}
		}
	}
	if got := d.text(t, "SELECT string_agg(reason, ' ' ORDER BY reason) FROM gapless.dead_letter"); got != "no_type undecodable" {
		t.Errorf("dead letters for %q, want no_type and undecodable", got)
	}
	if got := d.int(t, "SELECT count(*) FROM gapless.key_block_message WHERE key = 'no-type'"); got != 1 {
		t.Errorf("%d messages behind the key, want 1", got)
	}
}

// The bytes of a dead letter are the record's, whatever they are.
func TestDeadLetterKeepsTheBytes(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	in := newInbox(t, consumers.Config{Pool: d.pool}, consumers.Consumer{
		Name: "bytes", Topics: []string{topic},
		Apply: func(context.Context, consumers.Tx, consumers.Delivery) error {
			return consumers.Poison("bad\x00reason\xff", errors.New("bad\x00error\xff"))
		},
	})
	longKey := bytes.Repeat([]byte("long-and-random-"), 1)
	for len(longKey) < 8000 { // longer than an index entry may be, and not compressible
		longKey = append(longKey, uuid.NewString()...)
	}
	m := message(t, 7, "", "")
	m.Key, m.Value, m.Type = longKey, []byte{0, 1, 0xff, 0xfe}, "Odd\x00\xff"
	m.Headers = []consumers.Header{
		{Name: "twice", Value: []byte{0xff, 0}}, {Name: "null"}, {Name: "empty", Value: []byte{}}, {Name: "twice", Value: []byte("2")},
	}
	behind := *m
	behind.ID, behind.Offset = newID(t), 8
	if got := process(t, in, m, &behind); !slices.Equal(got, []consumers.Outcome{consumers.Parked, consumers.Waiting}) {
		t.Fatalf("outcomes %v", got)
	}
	for _, table := range []string{"dead_letter", "key_block_message"} {
		var key, value, headers []byte
		var at time.Time
		err := d.admin.QueryRow(t.Context(), "SELECT key, value, headers::text::bytea, record_timestamp FROM gapless."+table).Scan(&key, &value, &headers, &at)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(key, m.Key) || !bytes.Equal(value, m.Value) || !at.Equal(m.Timestamp) {
			t.Errorf("%s: key, value or timestamp changed", table)
		}
		got, err := consumers.DecodeHeaders(headers)
		if err != nil || len(got) != len(m.Headers) {
			t.Fatalf("%s: headers %s: %v", table, headers, err)
		}
		for i := range got {
			if got[i].Name != m.Headers[i].Name || !bytes.Equal(got[i].Value, m.Headers[i].Value) || (got[i].Value == nil) != (m.Headers[i].Value == nil) {
				t.Errorf("%s: header %d is %+v, want %+v", table, i, got[i], m.Headers[i])
			}
		}
	}
}

func TestNullKeyBlocksOnlyItself(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	in := newInbox(t, consumers.Config{Pool: d.pool}, effectConsumer())
	list := []*consumers.Message{message(t, 0, "", "poison"), message(t, 1, "", "good"), message(t, 2, "", "poison"), message(t, 3, "", "good")}
	list[0].Key, list[1].Key = nil, nil // the others have the empty key, which is one
	got := process(t, in, list...)
	if want := []consumers.Outcome{consumers.Parked, consumers.Applied, consumers.Parked, consumers.Waiting}; !slices.Equal(got, want) {
		t.Errorf("outcomes %v, want %v", got, want)
	}
}

func TestOverlappingBatchesInReverseOrderDoNotDeadlock(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	list := messages(t, 400)
	reversed := slices.Clone(list)
	slices.Reverse(reversed)
	for i := range 20 { // fresh events each round, or only the first one meets
		for j := range list {
			list[j].ID = newID(t)
			list[j].Offset = int64(i*len(list) + j)
		}
		var wg sync.WaitGroup
		for _, order := range [][]*consumers.Message{list, reversed} {
			in := newInbox(t, consumers.Config{Pool: d.pool}, effectConsumer())
			own := make([]*consumers.Message, len(order))
			for j, m := range order {
				second := *m
				own[j] = &second
			}
			wg.Go(func() {
				if _, err := in.Process(t.Context(), own...); err != nil {
					t.Errorf("process: %v", err)
				}
			})
		}
		wg.Wait()
	}
	if got, want := d.int(t, "SELECT count(*) FROM effect"), int64(20*len(list)); got != want {
		t.Errorf("%d effects, want %d", got, want)
	}
	if got := d.int(t, "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"); got != 0 {
		t.Errorf("%d deadlocks", got)
	}
}

// A statement that failed and whose error was kept must not pass as committed:
// COMMIT answers ROLLBACK then, without an error.
func TestSwallowedErrorIsNotACommit(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	consumer := effectConsumer()
	consumer.Apply = func(ctx context.Context, tx consumers.Tx, _ consumers.Delivery) error {
		_, _ = tx.Exec(ctx, "SELECT 1/0")
		return nil
	}
	in := newInbox(t, consumers.Config{Pool: d.pool, MaxAttempts: 2}, consumer)
	if got := process(t, in, message(t, 0, "a", "")); got[0] != consumers.Parked {
		t.Errorf("outcome %v, want parked", got)
	}
	if got := d.text(t, "SELECT outcome FROM gapless.inbox"); got != "parked" {
		t.Errorf("inbox says %s", got)
	}
}

func TestQueuedStatementsFailTheBatch(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	consumer := effectConsumer()
	consumer.Apply = func(_ context.Context, tx consumers.Tx, m consumers.Delivery) error {
		q := tx.Queue("UPDATE effect SET key = key WHERE key = $1", string(m.Key))
		q.Exec(func(tag pgconn.CommandTag) error {
			if tag.RowsAffected() == 0 && string(m.Key) == "missing" {
				return consumers.Poison("no_row", errors.New("nothing was updated"))
			}
			tx.Queue("INSERT INTO effect (event_id, key) VALUES ($1, $2)", m.ID, string(m.Key))
			return nil
		})
		return nil
	}
	in := newInbox(t, consumers.Config{Pool: d.pool}, consumer)
	process(t, in, message(t, 0, "a", ""), message(t, 1, "missing", ""), message(t, 2, "b", ""))
	if d.effects(t) != "a b" || d.text(t, "SELECT reason FROM gapless.dead_letter") != "no_row" {
		t.Errorf("effects %q", d.effects(t))
	}
}

func TestHandlerReadsWhatItQueued(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	var counts []int
	consumer := effectConsumer()
	consumer.Apply = func(ctx context.Context, tx consumers.Tx, m consumers.Delivery) error {
		if err := applyEffect(ctx, tx, m); err != nil {
			return err
		}
		var n int
		if err := tx.QueryRow(ctx, "SELECT count(*) FROM effect").Scan(&n); err != nil {
			return err
		}
		rows, err := tx.Query(ctx, "SELECT n FROM effect")
		if err != nil {
			return err
		}
		list, err := pgx.CollectRows(rows, pgx.RowTo[int64])
		if len(list) != n {
			err = errors.Join(err, errors.New("Query and QueryRow differ"))
		}
		counts = append(counts, n)
		return err
	}
	in := newInbox(t, consumers.Config{Pool: d.pool}, consumer)
	process(t, in, messages(t, 3)...)
	if !slices.Equal(counts, []int{1, 2, 3}) {
		t.Errorf("counts %v, want each handler to see its own row", counts)
	}
}

func TestEmitCarriesTheCause(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	consumer := effectConsumer()
	consumer.Apply = func(ctx context.Context, tx consumers.Tx, m consumers.Delivery) error {
		return tx.Emit(ctx, m.Message,
			outbox.Event{AggregateType: "x", AggregateID: "1", Type: "First"},
			outbox.Event{AggregateType: "x", AggregateID: "2", Type: "Second", Headers: map[string]string{"ce_correlationid": "own"}})
	}
	in := newInbox(t, consumers.Config{Pool: d.pool}, consumer)
	m := message(t, 0, "a", "")
	m.Headers = []consumers.Header{
		{Name: "ce_correlationid", Value: []byte("saga-1")},
		{Name: "traceparent", Value: []byte("00-a-b-01")},
		{Name: "tracestate", Value: []byte("broken\x00")}, // a foreign header must not stop the event
	}
	process(t, in, m)
	got := d.text(t, `SELECT string_agg(type || ' ' || coalesce(headers->>'ce_correlationid', '-') || ' ' || coalesce(headers->>'traceparent', '-')
		|| ' ' || coalesce(headers->>'tracestate', '-') || ' ' || (headers->>'ce_causationid' = $1), '; ' ORDER BY id) FROM gapless.outbox`, m.ID.String())
	if want := "First saga-1 00-a-b-01 - true; Second own 00-a-b-01 - true"; got != want {
		t.Errorf("emitted %q\nwant    %q", got, want)
	}
}

func TestApplyBatchGetsAllAtOnceAndThenSingly(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	var sizes []int
	in := newInbox(t, consumers.Config{Pool: d.pool}, consumers.Consumer{
		Name: "set", Topics: []string{topic},
		ApplyBatch: func(ctx context.Context, tx consumers.Tx, batch []consumers.Delivery) error {
			sizes = append(sizes, len(batch))
			for _, m := range batch {
				if err := applyEffect(ctx, tx, m); err != nil {
					return err
				}
			}
			return nil
		},
	})
	process(t, in, message(t, 0, "a", ""), message(t, 1, "b", ""))
	process(t, in, message(t, 2, "c", ""), message(t, 3, "d", "poison"), message(t, 4, "e", ""))
	if !slices.Equal(sizes, []int{2, 3, 1, 1, 1}) || d.effects(t) != "a b c e" {
		t.Errorf("batches %v, effects %q", sizes, d.effects(t))
	}
}

// A block that another member makes while this one's claim waits is seen.
func TestClaimWaitsForItsTwinAndSeesTheBlock(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	first, second := message(t, 0, "k", "poison"), message(t, 1, "k", "good")

	other, err := d.admin.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	_, err = other.Exec(t.Context(), `
		WITH letter AS (
			INSERT INTO gapless.dead_letter (consumer, event_id, topic, partition, "offset", record_timestamp, key, reason, attempts, first_failed_at, last_failed_at)
			VALUES ('effects', '`+first.ID.String()+`', 'outbox.event.order', 0, 0, now(), 'k', 'test', 1, now(), now()) RETURNING dead_letter_id
		), block AS (INSERT INTO gapless.key_block (consumer, topic, key, dead_letter_id) SELECT 'effects', 'outbox.event.order', 'k', dead_letter_id FROM letter)
		INSERT INTO gapless.inbox (consumer, event_id, outcome, topic, partition, "offset") VALUES ('effects', '`+first.ID.String()+`', 'parked', 'outbox.event.order', 0, 0)`)
	if err != nil {
		t.Fatal(err)
	}
	in := newInbox(t, consumers.Config{Pool: d.pool}, effectConsumer())
	done := make(chan []consumers.Outcome, 1)
	go func() {
		outcomes, err := in.Process(t.Context(), first, second)
		if err != nil {
			t.Errorf("process: %v", err)
		}
		done <- outcomes
	}()
	waitFor(t, func() error {
		if d.int(t, "SELECT count(*) FROM pg_locks AS l JOIN pg_stat_activity AS a USING (pid) WHERE NOT l.granted AND a.datname = current_database()") == 0 {
			return errors.New("nobody waits")
		}
		return nil
	})
	if err := other.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := <-done; !slices.Equal(got, []consumers.Outcome{consumers.Duplicate, consumers.Waiting}) {
		t.Errorf("outcomes %v, want the second one behind the block", got)
	}
}

func TestHeadersSurviveTheirStorage(t *testing.T) {
	t.Parallel()
	got, err := consumers.DecodeHeaders([]byte(`[["a","` + base64.StdEncoding.EncodeToString([]byte("x")) + `"],["b",null]]`))
	if err != nil || len(got) != 2 || string(got[0].Value) != "x" || got[1].Value != nil {
		t.Errorf("got %+v, %v", got, err)
	}
}
