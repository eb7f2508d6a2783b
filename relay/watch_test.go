package relay_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/gapless/gapless/internal/pgtest"
	"github.com/gapless/gapless/internal/testkit"
	"github.com/gapless/gapless/relay"
	"github.com/gapless/gapless/sql"
)

// told are what the server says, of which a relay that knows nothing says nothing.
var told = []string{
	"gapless_slot_active", "gapless_slot_retained_bytes", "gapless_slot_safe_bytes", "gapless_slot_unconfirmed_bytes",
	"gapless_slot_status", "gapless_rows_parked", "gapless_oldest_transaction_seconds",
}

// A standby tells of the slot what its owner does, and claims nothing for itself.
func TestAStandbyTellsOfTheSlot(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	var sink memory
	run(t, s.config(&sink)).become(relay.Streaming)
	reg := prometheus.NewPedanticRegistry()
	cfg := s.config(&memory{})
	cfg.DatabaseURL = s.db.LoginURL(t, pgtest.Relay)
	cfg.Registerer = reg
	standby, err := relay.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := testutil.GatherAndCount(reg, told...); err != nil || n != 0 {
		t.Errorf("%d series before the server was asked, %v", n, err)
	}
	launch(t, standby).become(relay.Standby)
	testkit.Eventually(t, patience, func() error {
		for _, name := range told {
			if n, err := testutil.GatherAndCount(reg, name); err != nil || n < 1 {
				return fmt.Errorf("%s: %d series, %w", name, n, err)
			}
		}
		return nil
	})
	if active, leader := gauge(t, reg, "gapless_slot_active"), gauge(t, reg, "gapless_relay_leader"); active != 1 || leader != 0 {
		t.Errorf("slot active %v, leader %v", active, leader)
	}
}

// What a stream has set does not stand when it is over.
func TestNoLagWithoutAStream(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	var sink memory
	sink.hold()
	reg := prometheus.NewPedanticRegistry()
	cfg := s.config(&sink)
	cfg.Registerer, cfg.StopTimeout = reg, time.Millisecond
	r := run(t, cfg)
	s.append(t, "k", "1")
	testkit.Eventually(t, patience, func() error {
		if n := gauge(t, reg, "gapless_relay_queue_records"); n != 1 {
			return fmt.Errorf("%v records in flight", n)
		}
		if n, err := testutil.GatherAndCount(reg, "gapless_slot_active"); err != nil || n != 1 {
			return fmt.Errorf("%d series of the slot, %w", n, err)
		}
		return nil
	})
	r.stop()
	if st := r.Status(); st.State != relay.Stopped || st.InFlight != 0 || st.InFlightBytes != 0 || st.LagSeconds != 0 {
		t.Errorf("%+v", st)
	}
	// Nor what the server said: nobody would say that the slot has no reader any more.
	if n, err := testutil.GatherAndCount(reg, told...); err != nil || n != 0 {
		t.Errorf("%d series of the server's, %v", n, err)
	}
	for _, name := range []string{"gapless_relay_leader", "gapless_relay_lag_seconds", "gapless_relay_queue_records", "gapless_relay_unpublished_bytes"} {
		if v := gauge(t, reg, name); v != 0 {
			t.Errorf("%s is %v", name, v)
		}
	}
}

func TestTheOldestTransactionIsTold(t *testing.T) {
	t.Parallel()
	s, server := ownServer(t, map[string]string{"max_prepared_transactions": "1"})
	s.exec(t, "create role watcher login replication password 'w' in role gapless_relay")
	reg := prometheus.NewPedanticRegistry()
	cfg := s.config(&memory{})
	cfg.DatabaseURL = server.UserURL("watcher", "w", "postgres")
	cfg.Registerer = reg
	writer := begin(t, s.pool, pgx.TxOptions{})
	if _, err := writer.Exec(t.Context(), "select pg_current_xact_id()"); err != nil {
		t.Fatal(err)
	}
	run(t, cfg).become(relay.Streaming)
	testkit.Eventually(t, patience, func() error {
		if v, ok := findGauge(t, reg, "gapless_oldest_transaction_seconds"); !ok || v < 5 {
			return fmt.Errorf("the oldest is %v s old, told: %v", v, ok)
		}
		return nil
	})
	if err := writer.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, patience, func() error {
		if v, ok := findGauge(t, reg, "gapless_oldest_transaction_seconds"); !ok || v != 0 {
			return fmt.Errorf("the oldest is %v s old, told: %v", v, ok)
		}
		return nil
	})
}

// Which ids hold something back, as the relay's least login sees them.
func TestTransactionsThatHoldSomethingBack(t *testing.T) {
	t.Parallel()
	s, server := ownServer(t, map[string]string{"max_prepared_transactions": "1"})
	s.exec(t, "create role watcher login replication password 'w' in role gapless_relay")
	s.exec(t, "create table t (n int)")
	watcher := pgtest.OpenPool(t, server.UserURL("watcher", "w", "postgres"))
	holders := func() (xids []string) {
		t.Helper()
		rows, err := watcher.Query(t.Context(), sql.RelayTransactions)
		if err != nil {
			t.Fatal(err)
		}
		defer rows.Close()
		for rows.Next() {
			var xid string
			var open float64
			if err := rows.Scan(&xid, &open); err != nil {
				t.Fatal(err)
			}
			xids = append(xids, xid)
		}
		if err := rows.Err(); err != nil {
			t.Fatal(err)
		}
		return xids
	}
	expect := func(when string, want ...string) {
		t.Helper()
		if got := holders(); !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", when, got, want)
		}
	}
	expect("at rest")

	snapshot := begin(t, s.pool, pgx.TxOptions{IsoLevel: pgx.RepeatableRead})
	var oldest string
	if err := snapshot.QueryRow(t.Context(), "select pg_snapshot_xmin(pg_current_snapshot())::text").Scan(&oldest); err != nil {
		t.Fatal(err)
	}
	expect("a snapshot, and nothing written since")
	s.exec(t, "insert into t values (1)")
	expect("a snapshot, and a write since", oldest)
	_ = snapshot.Rollback(t.Context())

	writer := begin(t, s.pool, pgx.TxOptions{})
	if err := writer.QueryRow(t.Context(), "insert into t values (2) returning xmin::text").Scan(&oldest); err != nil {
		t.Fatal(err)
	}
	expect("a transaction that wrote", oldest)
	if _, err := writer.Exec(t.Context(), "prepare transaction 'forgotten'"); err != nil {
		t.Fatal(err)
	}
	expect("a prepared transaction", oldest)
	s.exec(t, "rollback prepared 'forgotten'")
	expect("at rest again")
}

func begin(t *testing.T, pool *pgxpool.Pool, options pgx.TxOptions) pgx.Tx {
	t.Helper()
	tx, err := pool.BeginTx(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tx.Rollback(context.Background()) })
	return tx
}
