package inspect_test

import (
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/gapless/gapless/internal/kafkaserver"
	"github.com/gapless/gapless/internal/pgtest"
	"github.com/gapless/gapless/ops/inspect"
	"github.com/gapless/gapless/relay/kafkastate"
)

// Whoever names one server's database means nothing of another's that has a slot of the same
// name in the topic; but rows of a server that was replaced stay within reach.
func TestInKafkaOfAnotherServer(t *testing.T) {
	t.Parallel()
	pool := pgtest.NewDB(t).Pool(t)
	var system string
	if err := pool.QueryRow(t.Context(), "select mod(system_identifier + 18446744073709551616, 18446744073709551616)::text from pg_control_system()").Scan(&system); err != nil {
		t.Fatal(err)
	}
	in := inspect.InKafka{DB: pool, Config: kafkastate.Config{
		Brokers: kafkaserver.ForTest(t), Topic: kafkaserver.Name(t, "state"), Logger: slog.New(slog.DiscardHandler),
	}}
	cfg := in.Config
	cfg.Slot, cfg.Create = "shop", true
	l, err := kafkastate.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	key, incarnation := "k", int64(0)
	of := func(system string) {
		t.Helper()
		incarnation++
		row, err := kafkastate.RowEntry(cfg.Slot, kafkastate.Place{Timeline: 1, Commit: 42}, kafkastate.Row{
			ID: uuid.New(), Table: "t", RowKey: &key, Topic: "t", Partition: -1, Key: []byte(key), Blocks: true, Status: kafkastate.Parked, Reason: "too_large", ParkedAt: time.Now(),
		}, 1<<20)
		if err == nil {
			err = errors.Join(l.End(t.Context()), l.Fence(t.Context()))
		}
		if err == nil {
			err = l.Write(t.Context(), incarnation, kafkastate.EntryOf(cfg.Slot, kafkastate.Progress{Incarnation: incarnation, SystemID: system, Timeline: 1, Resume: "0/10", UpdatedAt: time.Now()}), row)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	of("4711")
	f := inspect.ParkedFilter{Slot: cfg.Slot}
	_, listed := in.ParkedRows(t.Context(), f)
	_, asked := in.RequestParked(t.Context(), "discard", "test", f, nil)
	for what, err := range map[string]error{"list": listed, "discard": asked, "pause": in.Pause(t.Context(), cfg.Slot, true, "test")} {
		if !errors.Is(err, inspect.ErrOtherServer) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if err := in.Forget(t.Context(), cfg.Slot, "the server is another one now"); err != nil {
		t.Fatal(err)
	}
	if rows, err := in.ParkedRows(t.Context(), f); err != nil || len(rows) != 1 {
		t.Errorf("after the record was forgotten: %d rows, %v", len(rows), err)
	}
	of(system)
	if rows, err := in.ParkedRows(t.Context(), f); err != nil || len(rows) != 1 {
		t.Errorf("of its own server: %d rows, %v", len(rows), err)
	}
}
