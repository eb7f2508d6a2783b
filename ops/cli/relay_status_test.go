//go:build unix

package cli_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/gapless/gapless/internal/kafkaserver"
	"github.com/gapless/gapless/internal/pgtest"
	"github.com/gapless/gapless/internal/testkit"
)

type statusOfRelay struct {
	State           string
	WaitsFor        string   `json:"waits_for"`
	HeldTopics      []string `json:"held_topics"`
	Held            int
	UnrelayedEvents int      `json:"unrelayed_events"`
	LagSeconds      float64  `json:"lag_seconds"`
	WALRate         *float64 `json:"wal_bytes_per_second"`
	FullIn          *float64 `json:"full_in_seconds"`
	PausedBy        string   `json:"paused_by"`
	SafeWALSize     *int64   `json:"safe_wal_size"`
}

// What only the relay knows is told by 'relay status' too: rows that wait for a topic.
func TestRelayStatusTellsOfHeldRows(t *testing.T) {
	t.Parallel()
	db := pgtest.NewDB(t)
	pool := db.Pool(t)
	slot := db.Slot(t, "status")
	brokers := kafkaserver.Fake(t).ListenAddrs()
	kafkaserver.CreateTopic(t, brokers, "outbox.event.near", 1)
	relay := start(t, nil, "relay", "--create-topics", "--slot", slot, "--database-url", db.LoginURL(t, pgtest.Relay), "--brokers", strings.Join(brokers, ","), "--ops-listen", "127.0.0.1:0")
	defer relay.end(t)
	status := func(args ...string) statusOfRelay {
		list := jsonOf[[]statusOfRelay](t, run(t, nil, append([]string{"relay", "status", "--slot", slot, "--database-url", db.LoginURL(t, pgtest.Readonly), "-o", "json"}, args...)...))
		if len(list) != 1 {
			t.Fatalf("%+v", list)
		}
		return list[0]
	}
	statements(t, pool, `insert into gapless.outbox (aggregatetype, aggregateid, type) select kind, 'k', 'T' from generate_series(1, 7), unnest(array['near', 'away']) kind`)
	testkit.Eventually(t, 30*time.Second, func() error {
		s := status("--sample", "0s")
		if s.State != "streaming, with rows held" || s.Held != 7 || fmt.Sprint(s.HeldTopics) != "[outbox.event.away]" || !strings.Contains(s.WaitsFor, "7 rows wait for topic outbox.event.away") {
			return fmt.Errorf("%+v", s)
		}
		return nil
	})
	if s := status("--sample", "0s"); s.WALRate != nil || s.FullIn != nil || s.PausedBy != "" {
		t.Errorf("a rate after one look: %+v", s)
	}
	kafkaserver.CreateTopic(t, brokers, "outbox.event.away", 1)
	testkit.Eventually(t, 30*time.Second, func() error {
		if s := status("--sample", "10ms"); s.State != "streaming" || s.Held != 0 || s.WaitsFor != "" || s.UnrelayedEvents != 0 || s.WALRate == nil {
			return fmt.Errorf("%+v", s)
		}
		return nil
	})
	relay.end(t)
	statements(t, pool, `insert into gapless.outbox (aggregatetype, aggregateid, type) select 'near', 'k', 'T' from generate_series(1, 5)`)
	if s := status(); s.State != "stopped" || s.WaitsFor != "" || s.UnrelayedEvents != 5 {
		t.Errorf("%+v", s)
	}
}

// Of a relay of tables of one's own alone the rows of gapless.outbox tell nothing; how late
// it is, the relay tells.
func TestRelayStatusOfTablesOfOnesOwn(t *testing.T) {
	t.Parallel()
	db := pgtest.NewDB(t)
	pool := db.Pool(t)
	slot := db.Slot(t, "own")
	statements(t, pool, `create table own (id uuid primary key default gen_random_uuid(), aggregatetype text, aggregateid text, type text, payload text);
create publication own for table own;
grant select on own to gapless_relay`)
	brokers := kafkaserver.Fake(t).ListenAddrs()
	kafkaserver.CreateTopic(t, brokers, "outbox.event.near", 1)
	relay := start(t, nil, "relay", "--create-topics", "--slot", slot, "--publication", "own", "--database-url", db.LoginURL(t, pgtest.Relay), "--brokers", strings.Join(brokers, ","), "--ops-listen", "127.0.0.1:0")
	defer relay.end(t)
	is := func(s statusOfRelay) {
		t.Helper()
		testkit.Eventually(t, 60*time.Second, func() error {
			got := jsonOf[[]statusOfRelay](t, run(t, nil, "relay", "status", "--slot", slot, "--sample", "0s", "--database-url", db.LoginURL(t, pgtest.Readonly), "-o", "json"))[0]
			if got.State != s.State || got.UnrelayedEvents != s.UnrelayedEvents || (got.LagSeconds > 5) != (s.LagSeconds > 5) {
				return fmt.Errorf("%+v, want %+v", got, s)
			}
			return nil
		})
	}
	statements(t, pool, `insert into own (aggregatetype, aggregateid, type) values ('near', 'k', 'T')`)
	statements(t, pool, `insert into gapless.outbox (aggregatetype, aggregateid, type) select 'near', 'k', 'T' from generate_series(1, 7);
update gapless.outbox set created_at = now() - interval '1 hour'`)
	is(statusOfRelay{State: "streaming"})
	statements(t, pool, `insert into own (aggregatetype, aggregateid, type) values ('away', 'k', 'T')`)
	is(statusOfRelay{State: "streaming, with rows held", LagSeconds: 6})
	if text := run(t, nil, "relay", "status", "--slot", slot, "--sample", "0s", "--database-url", db.URL).succeeds(t).stdout; strings.Contains(text, "of gapless.outbox") {
		t.Error(text)
	}
	kafkaserver.CreateTopic(t, brokers, "outbox.event.away", 1)
	is(statusOfRelay{State: "streaming"})
}

// How long there is room is told where there is a limit, and said not to be known where
// there is none.
func TestRelayStatusTellsOfRoom(t *testing.T) {
	t.Parallel()
	for limit, want := range map[string]string{"-1": "unlimited: max_slot_wal_keep_size is -1", "1GB": "are left of max_slot_wal_keep_size"} {
		server := pgtest.Server(t, map[string]string{"wal_level": "logical", "max_slot_wal_keep_size": limit})
		pool := pgtest.OpenPool(t, server.SuperuserURL())
		pgtest.Migrate(t, server.SuperuserURL())
		statements(t, pool, "select pg_create_logical_replication_slot('gapless', 'pgoutput');\ncreate table other (v text)")
		written := make(chan struct{})
		go func() {
			defer close(written)
			for range 50 {
				if _, err := pool.Exec(t.Context(), "insert into other select repeat('x', 1000) from generate_series(1, 100)"); err != nil {
					t.Error(err)
				}
				if _, err := pool.Exec(t.Context(), "select pg_sleep(0.02)"); err != nil {
					t.Error(err)
				}
			}
		}()
		text := run(t, nil, "relay", "status", "--database-url", server.SuperuserURL()).succeeds(t).stdout
		<-written
		if !strings.Contains(text, want) || !strings.Contains(text, "iB a second") {
			t.Errorf("max_slot_wal_keep_size %s: no %q in\n%s", limit, want, text)
		}
		if strings.Contains(text, "if nothing more is confirmed") != (limit != "-1") {
			t.Errorf("max_slot_wal_keep_size %s:\n%s", limit, text)
		}
	}
}
