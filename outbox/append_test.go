package outbox_test

import (
	"context"
	stdsql "database/sql"
	"encoding/json"
	"errors"
	"maps"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/gapless/gapless/internal/pgtest"
	"github.com/gapless/gapless/outbox"
	"github.com/gapless/gapless/outbox/outboxtest"
)

func begin(t testing.TB, db *pgtest.DB) pgx.Tx {
	t.Helper()
	tx, err := db.Pool(t).Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tx.Rollback(context.WithoutCancel(t.Context())) })
	return tx
}

// some is one of each kind of event.
func some() []outbox.Event {
	return []outbox.Event{
		{AggregateType: "order", AggregateID: "o-1", AggregateVersion: 1, Type: "OrderPlaced", Payload: []byte(`{"a":1}`), Headers: map[string]string{"content-type": "application/json", "x": `"quoted" é\`}},
		{AggregateType: "order", AggregateID: "o-1", AggregateVersion: 2, Type: "OrderGone"}, // a tombstone
		{AggregateType: "order", AggregateID: "o-2", Type: "Empty", Payload: []byte{}},
		{AggregateType: "clock", AggregateID: "c", Message: durationpb.New(1500 * time.Millisecond)},
		{ID: uuid.MustParse("0f5cd0a4-3c51-4a6e-9a5b-1d2c3b4a5f60"), AggregateType: "order", AggregateID: "o-3", Type: "Bytes", Payload: []byte{0, 255}},
	}
}

func checkSome(t *testing.T, got []outboxtest.Event) {
	t.Helper()
	want := some()
	if len(got) != len(want) {
		t.Fatalf("%d events, want %d", len(got), len(want))
	}
	for _, w := range want {
		found := false
		for _, g := range got {
			if g.AggregateID != w.AggregateID || g.AggregateVersion != w.AggregateVersion {
				continue
			}
			found = true
			if w.Message != nil {
				w.Type, w.Payload, w.Headers = "Duration", []byte(`"1.500s"`), map[string]string{"content-type": "application/json"}
			}
			if g.Type != w.Type || string(g.Payload) != string(w.Payload) || (g.Payload == nil) != (w.Payload == nil) || !maps.Equal(g.Headers, w.Headers) {
				t.Errorf("got %+v, want %+v", g.Event, w)
			}
			if w.ID == uuid.Nil && g.ID.Version() != 7 || w.ID != uuid.Nil && g.ID != w.ID {
				t.Errorf("id %s, want %s", g.ID, w.ID)
			}
			if age := time.Since(g.CreatedAt); age < -time.Minute || age > time.Minute {
				t.Errorf("created at %s", g.CreatedAt)
			}
		}
		if !found {
			t.Errorf("missing: %+v", w)
		}
	}
}

func TestAppend(t *testing.T) {
	t.Parallel()
	tx := begin(t, pgtest.NewDB(t))
	if err := outbox.Append(t.Context(), tx, some()...); err != nil {
		t.Fatal(err)
	}
	checkSome(t, outboxtest.Events(t, tx))
}

func TestQueue(t *testing.T) {
	t.Parallel()
	tx := begin(t, pgtest.NewDB(t))
	var batch pgx.Batch
	batch.Queue("create temporary table mine (n int)")
	if err := outbox.New(outbox.Config{}).Queue(t.Context(), &batch, some()...); err != nil {
		t.Fatal(err)
	}
	if err := tx.SendBatch(t.Context(), &batch).Close(); err != nil {
		t.Fatal(err)
	}
	checkSome(t, outboxtest.Events(t, tx))
}

func TestAppendSQL(t *testing.T) {
	t.Parallel()
	db := pgtest.NewDB(t)
	std, err := stdsql.Open("pgx", db.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer std.Close()
	tx, err := std.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	if err := outbox.AppendSQL(t.Context(), tx, some()...); err != nil {
		t.Fatal(err)
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	checkSome(t, outboxtest.Events(t, db.Pool(t)))
}

func TestAppendNothing(t *testing.T) {
	t.Parallel()
	if err := outbox.Append(t.Context(), nil); err != nil {
		t.Error(err)
	}
	if err := outbox.AppendSQL(t.Context(), nil); err != nil {
		t.Error(err)
	}
	var batch pgx.Batch
	if err := outbox.New(outbox.Config{}).Queue(t.Context(), &batch); err != nil || batch.Len() != 0 {
		t.Errorf("%d statements, %v", batch.Len(), err)
	}
}

// The event and the change live or die together.
func TestRollbackLeavesNothing(t *testing.T) {
	t.Parallel()
	db := pgtest.NewDB(t)
	tx := begin(t, db)
	if err := outbox.Append(t.Context(), tx, some()...); err != nil {
		t.Fatal(err)
	}
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	outboxtest.RequireNotAppended(t, db.Pool(t), outbox.Event{})
}

func TestInvalidEventLeavesTheTransactionUsable(t *testing.T) {
	t.Parallel()
	tx := begin(t, pgtest.NewDB(t))
	events := append(some(), outbox.Event{AggregateType: "order", AggregateID: "o-9"})
	err := outbox.Append(t.Context(), tx, events...)
	v, ok := errors.AsType[*outbox.ValidationError](err)
	if !ok || v.Index != len(events)-1 || v.Field != "Type" {
		t.Fatalf("got %v", err)
	}
	outboxtest.RequireNotAppended(t, tx, outbox.Event{}) // not even the valid ones
	if err := outbox.Append(t.Context(), tx, some()...); err != nil {
		t.Error(err)
	}
}

func TestDatabaseErrorIsWrapped(t *testing.T) {
	t.Parallel()
	db := pgtest.NewDB(t)
	tx, err := db.LoginPool(t, pgtest.Readonly).Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback(t.Context())
	err = outbox.Append(t.Context(), tx, some()...)
	if err == nil || !strings.HasPrefix(err.Error(), "append to outbox: ") || !strings.Contains(err.Error(), "42501") {
		t.Errorf("got %v", err)
	}
}

// The application's own role is enough.
func TestAppendAsApp(t *testing.T) {
	t.Parallel()
	db := pgtest.NewDB(t)
	tx, err := db.LoginPool(t, pgtest.App).Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback(t.Context())
	if err := outbox.Append(t.Context(), tx, some()...); err != nil {
		t.Error(err)
	}
}

// countingConn counts flushes to the server: a pipeline is one.
type countingConn struct {
	net.Conn
	writes *atomic.Int64
}

func (c countingConn) Write(b []byte) (int, error) {
	c.writes.Add(1)
	return c.Conn.Write(b)
}

func TestAppendIsOneRoundTrip(t *testing.T) {
	t.Parallel()
	db := pgtest.NewDB(t)
	config, err := pgx.ParseConfig(db.URL)
	if err != nil {
		t.Fatal(err)
	}
	var writes atomic.Int64
	dial := config.DialFunc
	config.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		return countingConn{conn, &writes}, err
	}
	conn, err := pgx.ConnectConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	tx, err := conn.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback(t.Context())
	for _, n := range []int{1, 1, 2, 100} { // the first call also prepares the statement
		events := make([]outbox.Event, n)
		for i := range events {
			events[i] = outbox.Event{AggregateType: "order", AggregateID: "o", Type: "A", Payload: []byte("{}")}
		}
		before := writes.Load()
		if err := outbox.Append(t.Context(), tx, events...); err != nil {
			t.Fatal(err)
		}
		if trips := writes.Load() - before; trips != 1 && before > 0 && len(outboxtest.Events(t, tx)) > 1 {
			t.Errorf("%d events took %d round trips", n, trips)
		}
	}
}

func TestIDsAscendWithinACall(t *testing.T) {
	t.Parallel()
	tx := begin(t, pgtest.NewDB(t))
	events := make([]outbox.Event, 1000)
	for i := range events {
		events[i] = outbox.Event{AggregateType: "order", AggregateID: "o", AggregateVersion: int64(i + 1), Type: "A"}
	}
	if err := outbox.Append(t.Context(), tx, events...); err != nil {
		t.Fatal(err)
	}
	for i, e := range outboxtest.Events(t, tx) {
		if e.AggregateVersion != int64(i+1) {
			t.Fatalf("event %d by id has version %d", i, e.AggregateVersion)
		}
	}
}

func TestHeadersFromContext(t *testing.T) {
	t.Parallel()
	tx := begin(t, pgtest.NewDB(t))
	ctx := outbox.WithHeaders(t.Context(), map[string]string{outbox.HeaderTraceParent: "00-1", outbox.HeaderCorrelationID: "saga"})
	ctx = outbox.WithHeaders(ctx, map[string]string{outbox.HeaderTraceParent: "00-2"})
	event := outbox.Event{AggregateType: "order", AggregateID: "o", Type: "A", Headers: map[string]string{outbox.HeaderCorrelationID: "own"}}
	if err := outbox.Append(ctx, tx, event); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{outbox.HeaderTraceParent: "00-2", outbox.HeaderCorrelationID: "own"}
	if got := outboxtest.Events(t, tx)[0].Headers; !maps.Equal(got, want) {
		t.Errorf("headers %v, want %v", got, want)
	}
	if len(event.Headers) != 1 {
		t.Error("the caller's map was changed")
	}
	bad := outbox.WithHeaders(t.Context(), map[string]string{"ce_id": "mine"})
	if err := outbox.Append(bad, tx, event); err == nil || !strings.Contains(err.Error(), `Headers["ce_id"]`) {
		t.Errorf("a reserved header of ctx: %v", err)
	}
}

// fixedEncoder stands for a codec of the caller's.
type fixedEncoder struct {
	payload []byte
	err     error
}

func (e fixedEncoder) Encode(aggregateType string, m proto.Message) ([]byte, string, string, error) {
	return e.payload, "application/x-" + aggregateType, "urn:1", e.err
}

func TestEncoder(t *testing.T) {
	t.Parallel()
	tx := begin(t, pgtest.NewDB(t))
	event := outbox.Event{AggregateType: "order", AggregateID: "o", Message: durationpb.New(0)}
	if err := outbox.New(outbox.Config{Encoder: fixedEncoder{payload: []byte("x")}}).Append(t.Context(), tx, event); err != nil {
		t.Fatal(err)
	}
	got := outboxtest.RequireAppended(t, tx, outbox.Event{Type: "Duration", Payload: []byte("x")})
	if want := map[string]string{"content-type": "application/x-order", "ce_dataschema": "urn:1"}; !maps.Equal(got.Headers, want) {
		t.Errorf("headers %v", got.Headers)
	}
	for name, e := range map[string]fixedEncoder{
		"unknown schema": {err: errors.New("no schema id")},
		"too large":      {payload: make([]byte, outbox.MaxPayloadBytes+1)},
	} {
		err := outbox.New(outbox.Config{Encoder: e}).Append(t.Context(), tx, event)
		if v, ok := errors.AsType[*outbox.ValidationError](err); !ok || v.Field != "Message" {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// In WAL mode there is no row; the message is in the slot once it is committed,
// and never when it is not.
func TestWALMode(t *testing.T) {
	t.Parallel()
	db := pgtest.NewDB(t)
	pool := db.Pool(t)
	slot := db.Slot(t, "wal")
	writer := outbox.New(outbox.Config{Mode: outbox.ModeWAL})
	for _, commit := range []bool{false, true} {
		tx := begin(t, db)
		if _, err := tx.Exec(t.Context(), "set local synchronous_commit = on"); err != nil {
			t.Fatal(err)
		}
		if err := writer.Append(t.Context(), tx, some()...); err != nil {
			t.Fatal(err)
		}
		outboxtest.RequireNotAppended(t, tx, outbox.Event{})
		if !commit {
			if err := tx.Rollback(t.Context()); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if err := tx.Commit(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	rows, err := pool.Query(t.Context(), `
		select data from pg_logical_slot_peek_binary_changes($1, null, null, 'proto_version', '1', 'publication_names', 'gapless', 'messages', 'true')
		where get_byte(data, 0) = ascii('M')`, slot)
	if err != nil {
		t.Fatal(err)
	}
	messages, err := pgx.CollectRows(rows, pgx.RowTo[[]byte])
	if err != nil {
		t.Fatal(err)
	}
	want := some()
	if len(messages) != len(want) {
		t.Fatalf("%d messages, want %d: the rolled back ones must not be there", len(messages), len(want))
	}
	for i, m := range messages {
		// 'M', flags, LSN, prefix and NUL, length, content.
		prefix, content, _ := strings.Cut(string(m[10:]), "\x00")
		var e outbox.Emitted
		if err := json.Unmarshal([]byte(content[4:]), &e); err != nil {
			t.Fatal(err)
		}
		if m[1] != 1 || prefix != "gapless.outbox" {
			t.Errorf("flags %d, prefix %q: not transactional", m[1], prefix)
		}
		if e.AggregateID != want[i].AggregateID || want[i].Message == nil && string(e.Payload) != string(want[i].Payload) || (e.Payload == nil) != (want[i].Payload == nil && want[i].Message == nil) {
			t.Errorf("message %d: %+v, want %+v", i, e, want[i])
		}
	}
}

func TestWALModeThroughDatabaseSQL(t *testing.T) {
	t.Parallel()
	db := pgtest.NewDB(t)
	slot := db.Slot(t, "walsql")
	std, err := stdsql.Open("pgx", db.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer std.Close()
	tx, err := std.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	if _, err := tx.ExecContext(t.Context(), "set local synchronous_commit = on"); err != nil {
		t.Fatal(err)
	}
	if err := outbox.New(outbox.Config{Mode: outbox.ModeWAL}).AppendSQL(t.Context(), tx, some()...); err != nil {
		t.Fatal(err)
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	var n int
	err = db.Pool(t).QueryRow(t.Context(), `
		select count(*) from pg_logical_slot_peek_binary_changes($1, null, null, 'proto_version', '1', 'publication_names', 'gapless', 'messages', 'true')
		where get_byte(data, 0) = ascii('M')`, slot).Scan(&n)
	if err != nil || n != len(some()) {
		t.Errorf("%d messages, %v", n, err)
	}
}
