package relay_test

import (
	"errors"
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/gapless/gapless/internal/pgserver"
	"github.com/gapless/gapless/internal/pgtest"
	"github.com/gapless/gapless/internal/testkit"
	"github.com/gapless/gapless/relay"
	"github.com/gapless/gapless/sql"
)

// ownServer is a setup on a server that the test may hurt.
func ownServer(t *testing.T, settings map[string]string) (*setup, *pgserver.Server) {
	t.Helper()
	server := pgtest.Server(t, settings)
	pgtest.Migrate(t, server.SuperuserURL())
	s := &setup{db: &pgtest.DB{URL: server.SuperuserURL()}, pool: pgtest.OpenPool(t, server.SuperuserURL()), slot: "gapless"}
	s.exec(t, "select pg_create_logical_replication_slot('gapless', 'pgoutput')")
	return s, server
}

// The sink is down for several times wal_sender_timeout, more is in flight
// than may be, and the server must not cut the stream.
func TestKeepalivesWhileHolding(t *testing.T) {
	t.Parallel()
	s, _ := ownServer(t, map[string]string{"wal_sender_timeout": "1s"})
	var sink memory
	sink.hold()
	cfg := s.config(&sink)
	cfg.MaxRecords, cfg.HoldAfter = 10, 500*time.Millisecond
	r := run(t, cfg)
	s.exec(t, `insert into gapless.outbox (aggregatetype, aggregateid, type) select 'order', 'k', 'T' from generate_series(1, 20000)`)
	r.become(relay.Holding)
	held := time.Now()
	testkit.Eventually(t, patience, func() error {
		if d := time.Since(held); d < 3*time.Second {
			return fmt.Errorf("held for %s only", d)
		}
		return nil
	})
	if st := r.Status(); st.Reconnects != 0 || st.InFlight != 10 || st.State != relay.Holding {
		t.Errorf("%+v", st)
	}
	sink.release()
	testkit.Eventually(t, patience, func() error {
		if n := len(sink.records()); n != 20000 {
			return fmt.Errorf("%d records", n)
		}
		return nil
	})
	r.become(relay.Streaming)
	s.stored(t, r, 20_000)
	if st := r.Status(); st.Reconnects != 0 {
		t.Errorf("%d reconnects", st.Reconnects)
	}
}

func TestServerDies(t *testing.T) {
	t.Parallel()
	s, server := ownServer(t, nil)
	var sink memory
	r := run(t, s.config(&sink))
	s.append(t, "k", "1")
	want(t, &sink, "1")
	s.stored(t, r, 1)
	if err := server.Kill(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := server.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, patience, func() error {
		_, err := s.pool.Exec(t.Context(), "insert into gapless.outbox (aggregatetype, aggregateid, type, payload) values ('order', 'k', 'T', '2')")
		return err
	})
	testkit.Eventually(t, patience, func() error {
		if got := sink.values(); got[len(got)-1] != "2" {
			return fmt.Errorf("got %q", got)
		}
		return nil
	})
	s.stored(t, r, 2)
}

// A server that shuts down waits for its walsender, and that for us.
func TestServerMayShutDown(t *testing.T) {
	t.Parallel()
	s, server := ownServer(t, nil)
	var sink memory
	r := run(t, s.config(&sink))
	for i := range 3 {
		s.append(t, "k", strconv.Itoa(i))
	}
	want(t, &sink, "0", "1", "2")
	began := time.Now()
	if err := server.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	if d := time.Since(began); d > 10*time.Second {
		t.Errorf("shut down and start took %s: the relay held it up", d)
	}
	testkit.Eventually(t, patience, func() error {
		_, err := s.pool.Exec(t.Context(), "insert into gapless.outbox (aggregatetype, aggregateid, type, payload) values ('order', 'k', 'T', 'after')")
		return err
	})
	testkit.Eventually(t, patience, func() error {
		if got := sink.values(); got[len(got)-1] != "after" {
			return fmt.Errorf("got %q", got)
		}
		return nil
	})
	s.stored(t, r, 4)
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	var sink memory
	reg := prometheus.NewPedanticRegistry()
	cfg := s.config(&sink)
	cfg.Registerer = reg
	r := run(t, cfg)
	s.append(t, "k", "1", "2")
	want(t, &sink, "1", "2")
	s.stored(t, r, 2)
	problems, err := testutil.GatherAndLint(reg)
	if err != nil || len(problems) > 0 {
		t.Errorf("lint: %v %v", problems, err)
	}
	for _, name := range []string{
		"gapless_relay_events_total", "gapless_relay_commit_to_ack_seconds", "gapless_relay_publish_duration_seconds",
		"gapless_relay_leader", "gapless_relay_lag_seconds", "gapless_relay_unpublished_bytes", "gapless_relay_queue_bytes",
		"gapless_slot_retained_bytes", "gapless_slot_safe_bytes", "gapless_slot_active", "gapless_rows_parked",
	} {
		if n, err := testutil.GatherAndCount(reg, name); err != nil || n < 1 {
			t.Errorf("%s: %d series, %v", name, n, err)
		}
	}
	if _, err := relay.New(cfg); err == nil {
		t.Error("the same metrics were registered twice")
	}
}

// Every statement is prepared against a migrated database by running it; this
// one is for people.
func TestInspectRelayRuns(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	var sink memory
	run(t, s.config(&sink)).become(relay.Streaming)
	rows, err := s.pool.Query(t.Context(), sql.InspectRelay)
	if err != nil {
		t.Fatal(err)
	}
	_, err = pgx.CollectExactlyOneRow(rows, pgx.RowToMap)
	if err != nil && !errors.Is(err, pgx.ErrTooManyRows) {
		t.Fatal(err)
	}
}

// The lag is the oldest's in flight: none at rest, not the newest's that was
// acknowledged, and there also when nothing ever was.
func TestLagIsTheOldestInFlight(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	var sink memory
	sink.hold()
	reg := prometheus.NewPedanticRegistry()
	cfg := s.config(&sink)
	cfg.Registerer = reg
	r := run(t, cfg)
	s.append(t, "k", "1")
	testkit.Eventually(t, patience, func() error {
		if lag := gauge(t, reg, "gapless_relay_lag_seconds"); lag <= 0 {
			return fmt.Errorf("lag is %v with a record in flight", lag)
		}
		return nil
	})
	sink.release()
	s.stored(t, r, 1)
	testkit.Eventually(t, patience, func() error {
		if lag := gauge(t, reg, "gapless_relay_lag_seconds"); lag != 0 {
			return fmt.Errorf("lag is %v with nothing in flight", lag)
		}
		return nil
	})
	sink.hold()
	before := time.Now()
	s.append(t, "k", "2")
	testkit.Eventually(t, patience, func() error {
		lag := gauge(t, reg, "gapless_relay_lag_seconds")
		if most := time.Since(before).Seconds(); lag > most {
			t.Fatalf("lag is %v, of an event %v old at most", lag, most)
		}
		if lag <= 0 {
			return errors.New("no lag yet")
		}
		return nil
	})
	sink.release()
}

func gauge(t testing.TB, reg *prometheus.Registry, name string) float64 {
	t.Helper()
	v, ok := findGauge(t, reg, name)
	if !ok {
		t.Fatalf("no metric %s", name)
	}
	return v
}

// findGauge is for a series that a first look at the server brings.
func findGauge(t testing.TB, reg *prometheus.Registry, name string) (value float64, ok bool) {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			return f.GetMetric()[0].GetGauge().GetValue(), true
		}
	}
	return 0, false
}
