package goose_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/gapless/gapless/goose"
	"github.com/gapless/gapless/internal/pgtest"
)

// peek counts what the slot would send, without moving it.
const peek = "select count(*) from pg_logical_slot_peek_binary_changes($1, null, null, 'proto_version', '1', 'publication_names', 'gapless')"

// durable makes a statement's WAL readable when it returns: the test server does
// not wait for it by default.
const durable = "set local synchronous_commit = on; "

// A slot made before its publication ends in "publication does not exist" for
// ever; this one decodes the very first row.
func TestPublicationBeforeSlot(t *testing.T) {
	t.Parallel()
	db := pgtest.NewEmptyDB(t)
	pool := db.Pool(t)
	slot := db.SlotName("first")
	up(t, goose.Config{DatabaseURL: db.URL, Slot: slot})
	exec(t, pool, durable+"insert into gapless.outbox (aggregatetype, aggregateid, type) values ('order', 'o-1', 'A')")
	before := value[int](t, pool, peek, slot)
	if before == 0 {
		t.Error("the slot sends nothing")
	}
	// Deletes cost no decoding.
	exec(t, pool, durable+"delete from gapless.outbox")
	if after := value[int](t, pool, peek, slot); after != before {
		t.Errorf("a delete is sent: %d messages, before %d", after, before)
	}
}

func TestNoSlot(t *testing.T) {
	t.Parallel()
	db := pgtest.NewEmptyDB(t)
	up(t, goose.Config{DatabaseURL: db.URL, Slot: db.SlotName("none"), NoSlot: true})
	if n := value[int](t, db.Pool(t), "select count(*) from pg_replication_slots where database = current_database()"); n != 0 {
		t.Errorf("%d slots", n)
	}
}

func refusedWith(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("got %v, want %v", err, want)
	}
	if r, ok := errors.AsType[interface {
		error
		Refusal() string
	}](err); !ok || r.Refusal() == "" {
		t.Errorf("%v names no way out", err)
	}
}

// Progress without its slot: a new one would skip what came in between.
func TestSlotMissing(t *testing.T) {
	t.Parallel()
	db := pgtest.NewEmptyDB(t)
	pool := db.Pool(t)
	c := goose.Config{DatabaseURL: db.URL, Slot: db.SlotName("gone")}
	up(t, c)
	exec(t, pool, "insert into gapless.relay_progress (slot, system_id, timeline, resume_lsn) values ($1, '1', 1, '0/1')", c.Slot)
	exec(t, pool, "select pg_drop_replication_slot($1)", c.Slot)
	_, err := goose.Up(t.Context(), c)
	refusedWith(t, err, goose.ErrSlotMissing)
	if n := value[int](t, pool, "select count(*) from pg_replication_slots where slot_name = $1", c.Slot); n != 0 {
		t.Error("a slot was made all the same")
	}
}

// Events without a slot: a new one would never see them.
func TestSlotOverRows(t *testing.T) {
	t.Parallel()
	db := pgtest.NewEmptyDB(t)
	pool := db.Pool(t)
	c := goose.Config{DatabaseURL: db.URL, Slot: db.SlotName("late")}
	up(t, goose.Config{DatabaseURL: db.URL, NoSlot: true})
	exec(t, pool, "select gapless.append('order', 'o-1', 'A', '{}'::jsonb)")
	_, err := goose.Up(t.Context(), c)
	refusedWith(t, err, goose.ErrOutboxNotEmpty)
	exec(t, pool, "truncate gapless.outbox")
	up(t, c)
}

// A row that is committed while the slot waits for open transactions is not
// skipped silently either.
func TestSlotWhileEventsAreWritten(t *testing.T) {
	t.Parallel()
	db := pgtest.NewEmptyDB(t)
	pool := db.Pool(t)
	c := goose.Config{DatabaseURL: db.URL, Slot: db.SlotName("racing")}
	up(t, goose.Config{DatabaseURL: db.URL, NoSlot: true})
	tx, err := pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), "select gapless.append('order', 'o-1', 'A', '{}'::jsonb)"); err != nil {
		t.Fatal(err)
	}
	result := make(chan error, 1)
	go func() {
		_, err := goose.Up(t.Context(), c)
		result <- err
	}()
	waitsForTransaction(t, db)
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	refusedWith(t, <-result, goose.ErrOutboxNotEmpty)
	if n := value[int](t, pool, "select count(*) from pg_replication_slots where slot_name = $1", c.Slot); n != 0 {
		t.Error("the slot that would skip the row is left behind")
	}
}

func TestSlotOfSomebodyElse(t *testing.T) {
	t.Parallel()
	one, other := pgtest.NewEmptyDB(t), pgtest.NewEmptyDB(t)
	slot := one.SlotName("theirs")
	up(t, goose.Config{DatabaseURL: one.URL, Slot: slot})
	_, err := goose.Up(t.Context(), goose.Config{DatabaseURL: other.URL, Slot: slot})
	if err == nil || !strings.Contains(err.Error(), "--slot") {
		t.Errorf("got %v", err)
	}
}

func TestDownRefusesASlotInUse(t *testing.T) {
	t.Parallel()
	db := pgtest.NewEmptyDB(t)
	c := goose.Config{DatabaseURL: db.URL, Slot: db.SlotName("busy")}
	up(t, c)
	release := stream(t, db, c.Slot)
	err := goose.Down(t.Context(), c)
	if err == nil || !strings.Contains(err.Error(), "stop the relay first") {
		t.Errorf("got %v", err)
	}
	// Another slot's relay has its position there, too.
	c.Slot, c.Components = db.SlotName("other"), []string{"outbox"}
	if _, err := db.Pool(t).Exec(t.Context(), "insert into gapless.relay_progress (slot, system_id, timeline, resume_lsn) values ($1, '1', 1, '0/1')", db.SlotName("busy")); err != nil {
		t.Fatal(err)
	}
	err = goose.Down(t.Context(), c)
	if err == nil || !strings.Contains(err.Error(), "stop the relay first") {
		t.Errorf("got %v", err)
	}
	release()
}

func TestWALLevel(t *testing.T) {
	t.Parallel()
	server := pgtest.Server(t, map[string]string{"wal_level": "replica"})
	url := server.SuperuserURL()
	_, err := goose.Up(t.Context(), goose.Config{DatabaseURL: url})
	if !errors.Is(err, goose.ErrWALLevel) {
		t.Fatalf("got %v", err)
	}
	if value[bool](t, open(t, url), "select to_regnamespace('gapless') is not null") {
		t.Error("the schema was made before the refusal")
	}
	up(t, goose.Config{DatabaseURL: url, NoSlot: true})
}
