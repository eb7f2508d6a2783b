package relay_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/gapless/gapless/internal/pgtest"
	"github.com/gapless/gapless/internal/testkit"
	"github.com/gapless/gapless/relay"
	"github.com/gapless/gapless/relay/eventrouter"
	"github.com/gapless/gapless/relay/format"
)

// Each start below would lose rows, or repeat them without end, in silence.
func TestRefusesToStart(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		damage func(t *testing.T, s *setup)
		what   string
	}{
		"slot dropped": {func(t *testing.T, s *setup) {
			s.exec(t, "select pg_drop_replication_slot($1)", s.slot)
		}, "does not exist"},
		"slot dropped and made again": {func(t *testing.T, s *setup) {
			s.exec(t, "select pg_drop_replication_slot($1)", s.slot)
			s.append(t, "k", "lost")
			s.exec(t, "select pg_create_logical_replication_slot($1, 'pgoutput')", s.slot)
		}, "ahead of the stored position"},
		"slot of another plugin": {func(t *testing.T, s *setup) {
			s.exec(t, "select pg_drop_replication_slot($1)", s.slot)
			s.exec(t, "select pg_create_logical_replication_slot($1, 'test_decoding')", s.slot)
		}, "plugin"},
		"publication dropped": {func(t *testing.T, s *setup) {
			s.exec(t, "drop publication gapless")
		}, `publication "gapless" does not exist`},
		"publication without a table": {func(t *testing.T, s *setup) {
			s.exec(t, "drop publication gapless")
			s.exec(t, "create publication gapless")
		}, "has no table"},
		"publication without inserts": {func(t *testing.T, s *setup) {
			s.exec(t, "alter publication gapless set (publish = 'update')")
		}, "does not publish inserts"},
		"partitions published one by one": {func(t *testing.T, s *setup) {
			s.exec(t, "alter publication gapless set (publish_via_partition_root = false)")
		}, "partition"},
		"record of another server": {func(t *testing.T, s *setup) {
			s.exec(t, "update gapless.relay_progress set system_id = '1'")
		}, "another one"},
		"record of a newer timeline": {func(t *testing.T, s *setup) {
			s.exec(t, "update gapless.relay_progress set timeline = 7")
		}, "old primary"},
		"record ahead of the server": {func(t *testing.T, s *setup) {
			s.exec(t, "update gapless.relay_progress set resume_lsn = 'FF/0'")
		}, "ahead of the server"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSetup(t)
			var sink memory
			r := run(t, s.config(&sink))
			s.append(t, "k", "1")
			want(t, &sink, "1")
			s.stored(t, r, 1)
			r.stop()
			c.damage(t, s)
			refusal(t, run(t, s.config(&sink)).ended(), c.what)
			if got := sink.values(); len(got) != 1 {
				t.Errorf("sent %q in spite of the refusal", got)
			}
		})
	}
}

func TestMakesASlotOnlyForEmptyTables(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	s.exec(t, "select pg_drop_replication_slot($1)", s.slot)
	var sink memory
	r := run(t, s.config(&sink))
	r.become(relay.Streaming)
	s.append(t, "k", "1")
	want(t, &sink, "1")
	r.stop()

	s = newSetup(t)
	s.exec(t, "select pg_drop_replication_slot($1)", s.slot)
	s.append(t, "k", "no slot saw this")
	refusal(t, run(t, s.config(&sink)).ended(), "already has rows")
}

// A slot under a mistyped name would keep WAL for ever.
func TestMakesNoSecondSlotUntold(t *testing.T) {
	t.Parallel()
	var sink memory
	typo := func(s *setup) relay.Config {
		cfg := s.config(&sink)
		cfg.Slot = s.slot + "x"
		return cfg
	}
	slots := func(t *testing.T, s *setup) (n int) {
		t.Helper()
		if err := s.pool.QueryRow(t.Context(), "select count(*) from pg_replication_slots where database = current_database()").Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	t.Run("a slot without a record", func(t *testing.T) {
		t.Parallel()
		s := newSetup(t)
		refusal(t, run(t, typo(s)).ended(), s.slot)
		if n := slots(t, s); n != 1 {
			t.Errorf("%d slots", n)
		}
	})
	t.Run("a record", func(t *testing.T) {
		t.Parallel()
		s := newSetup(t)
		cfg := s.config(&memory{})
		cfg.ProofEvery = 20 * time.Millisecond
		r := run(t, cfg)
		testkit.Eventually(t, patience, func() error {
			s.append(t, "k", "1")
			var known bool // of which publication the record is
			if err := s.pool.QueryRow(t.Context(), "select coalesce(bool_or(publication_fingerprint <> ''), false) from gapless.relay_progress").Scan(&known); err != nil || !known {
				return fmt.Errorf("no proof is stored yet: %w", err)
			}
			return nil
		})
		r.stop()
		s.exec(t, "delete from gapless.outbox")
		refusal(t, run(t, typo(s)).ended(), s.slot)
		// Another publication has slots of its own.
		s.exec(t, "create table own (id uuid, aggregatetype text, aggregateid text, type text, payload text)")
		s.exec(t, "create publication own for table own")
		cfg = typo(s)
		cfg.Publication = "own"
		run(t, cfg).become(relay.Streaming)
	})
	t.Run("told", func(t *testing.T) {
		t.Parallel()
		s := newSetup(t)
		var log testkit.Buffer
		cfg := typo(s)
		cfg.CreateSlot = true
		cfg.Logger = slog.New(slog.NewJSONHandler(&log, nil))
		run(t, cfg).become(relay.Streaming)
		if n := slots(t, s); n != 2 {
			t.Errorf("%d slots", n)
		}
		for line := range strings.Lines(log.String()) {
			if strings.Count(line, `"slot":`) != 1 {
				t.Errorf("slot is not named once: %s", line)
			}
		}
	})
}

// A database that was never migrated has nothing to recover.
func TestUnmigratedDatabaseIsSentToMigrate(t *testing.T) {
	t.Parallel()
	var sink memory
	s := setup{db: pgtest.NewEmptyDB(t), slot: "nothing"}
	var r *relay.Refusal
	if err := run(t, s.config(&sink)).ended(); !errors.As(err, &r) || !strings.Contains(r.Remedy, "migrate up") || len(r.SQL) > 0 {
		t.Errorf("error %v, want a refusal that sends to migrate up: %+v", err, r)
	}
}

// Keepalives move an idle slot past the record. That is no reason to refuse,
// not even with rows written while the relay was away; and the slot does move,
// else a quiet outbox beside a busy table fills the disk.
func TestIdleSlotMovesAndRestarts(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	s.exec(t, "create table busy (n int)")
	var sink memory
	r := run(t, s.config(&sink))
	s.append(t, "k", "1")
	want(t, &sink, "1")
	s.stored(t, r, 1)
	testkit.Eventually(t, patience, func() error {
		s.exec(t, "insert into busy select generate_series(1, 100)")
		st := r.Status()
		if st.Confirmed <= st.Stored {
			return fmt.Errorf("slot at %s, record at %s", st.Confirmed, st.Stored)
		}
		return nil
	})
	r.stop()
	s.append(t, "k", "while away")
	r = run(t, s.config(&sink))
	want(t, &sink, "1", "while away")
}

// Rows of a table of one's own that were relayed while an older transaction was open: the
// next start could not tell them from its. So the slot is not moved past the record, and
// once the transaction has ended it is.
func TestLongTransactionBesideATableOfOnesOwn(t *testing.T) {
	t.Parallel()
	s, _ := ownServer(t, nil)
	s.exec(t, "create table plain (id uuid default gen_random_uuid(), aggregatetype text, aggregateid text, payload text)")
	s.exec(t, "alter publication gapless add table plain")
	write := func(value string) {
		t.Helper()
		s.exec(t, "insert into plain (aggregatetype, aggregateid, payload) values ('order', 'k', $1)", value)
	}
	open, err := s.pool.Begin(t.Context())
	if err == nil {
		_, err = open.Exec(t.Context(), "select pg_current_xact_id()")
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = open.Rollback(context.WithoutCancel(t.Context())) }() // no-op after the one below
	var sink memory
	r := run(t, s.config(&sink))
	write("1")
	want(t, &sink, "1")
	// A proof is taken after a second, and would let keepalives move the slot.
	for began := time.Now(); time.Since(began) < 4*time.Second; time.Sleep(50 * time.Millisecond) {
		s.exec(t, "select pg_logical_emit_message(false, 'other', 'wal')")
		if st := r.Status(); st.Confirmed > st.Stored {
			t.Fatalf("the slot is ahead: %+v", st)
		}
	}
	if st := r.Status(); st.Done <= st.Stored {
		t.Fatalf("no keepalive has come: %+v", st)
	}
	r.stop()
	write("2")
	r = run(t, s.config(&sink))
	testkit.Eventually(t, patience, func() error {
		if got := sink.values(); got[len(got)-1] != "2" {
			return fmt.Errorf("got %q", got)
		}
		return nil
	})
	if err := open.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.proven(t, r)
	r.stop()
	r = run(t, s.config(&sink)) // and the next start can tell
	write("3")
	testkit.Eventually(t, patience, func() error {
		if got := sink.values(); got[len(got)-1] != "3" {
			return fmt.Errorf("got %q", got)
		}
		return nil
	})
	r.become(relay.Streaming)
}

// Rows that were restored from another server, which was ahead of this one, have xids that
// no transaction has yet. They are relayed like others, and no proof waits for them.
func TestRowsOfAnotherServersTransactions(t *testing.T) {
	t.Parallel()
	// Where xmin counts, transactions that are open while a proof is taken count too, also
	// those of other tests.
	s, server := ownServer(t, nil)
	s.exec(t, "create role shop login password 's' in role gapless_app")
	var sink memory
	r := run(t, s.config(&sink))
	restore := func(value string) {
		t.Helper()
		s.exec(t, "insert into gapless.outbox (aggregatetype, aggregateid, type, payload, xid) values ('order', 'k', 'T', convert_to($1, 'UTF8'), '9223372036854775000')", value)
	}
	restore("1")
	want(t, &sink, "1")
	unproven := func() (n int) {
		t.Helper()
		if err := s.pool.QueryRow(t.Context(), "select gapless.outbox_unproven('gapless.outbox')").Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	s.idled(t, r)
	if n := unproven(); n != 0 {
		t.Errorf("%d rows are not proven", n)
	}
	r.stop()
	restore("2")
	if n := unproven(); n != 1 {
		t.Errorf("%d rows are not proven, want that of before the start", n)
	}
	r = run(t, s.config(&sink))
	want(t, &sink, "1", "2")
	s.proven(t, r)
	// Whoever inserts events cannot make such a row.
	if _, err := pgtest.OpenPool(t, server.UserURL("shop", "s", "postgres")).Exec(t.Context(),
		"insert into gapless.outbox (aggregatetype, aggregateid, type, xid) values ('order', 'k', 'T', '9223372036854775000')"); !denied(err) {
		t.Errorf("the checkout's login made up an xid: %v", err)
	}
}

func denied(err error) bool {
	pg, ok := errors.AsType[*pgconn.PgError](err)
	return ok && pg.Code == "42501"
}

// Rows of one's own tables are told apart by whatever tells them apart. The relay that
// finds the slot ahead of its record goes on where they all come by it.
func TestSlotAheadOfTheRecordAndTablesOfOnesOwn(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		defined, columns, values string
		router                   eventrouter.Config
		refused                  string
	}{
		"a column id":                   {"id uuid", "id", "gen_random_uuid()", eventrouter.Config{}, ""},
		"one of another name":           {"event_id uuid", "event_id", "gen_random_uuid()", eventrouter.Config{EventID: "event_id"}, ""},
		"a key of two columns":          {`"Shop" int, at timestamptz, primary key ("Shop", at)`, `"Shop", at`, "1, clock_timestamp()", eventrouter.Config{}, ""},
		"a key, where the id may be no": {"id uuid, n bigserial primary key", "id", "null", eventrouter.Config{}, ""},
		"neither":                       {"n int", "n", "1", eventrouter.Config{}, "neither a column"},
		"no id and no key":              {"id uuid", "id", "null", eventrouter.Config{}, "has no id"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSetup(t)
			s.exec(t, "create table plain (aggregatetype text, aggregateid text, type text, payload text, "+c.defined+")")
			s.exec(t, "alter publication gapless add table plain")
			sink := memory{}
			cfg := s.config(&sink)
			cfg.Tables = map[string]format.Format{"public.plain": c.router}
			cfg.OnFault = map[string]relay.Policy{format.MissingColumn: relay.Skip}
			r := run(t, cfg)
			s.append(t, "k", "1")
			want(t, &sink, "1")
			s.idled(t, r)
			r.stop()
			s.exec(t, "insert into plain (aggregatetype, aggregateid, type, payload, "+c.columns+") values ('order', 'k', 'T', '2', "+c.values+")")
			s.append(t, "k", "3")
			r = run(t, cfg)
			if c.refused != "" {
				refusal(t, r.ended(), c.refused)
				return
			}
			testkit.Eventually(t, patience, func() error {
				if got := sink.values(); got[len(got)-1] != "3" {
					return fmt.Errorf("got %q", got)
				}
				return nil
			})
			if st := r.Status(); st.State != relay.Streaming {
				t.Errorf("%+v", st)
			}
		})
	}
}

// The same, but somebody else has moved the slot on, past rows that nobody sent.
func TestSlotMovedOverRowsIsRefused(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	s.exec(t, "create table plain (id uuid, aggregatetype text, aggregateid text, type text, payload text)")
	// Open when the proof is taken, committed after it: under a savepoint, whose
	// transaction id is not the one that the proof's snapshot knows as running.
	open, err := s.pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer open.Rollback(context.WithoutCancel(t.Context())) // no-op after the commit
	for _, statement := range []string{
		"select pg_current_xact_id()", "savepoint s",
		"insert into gapless.outbox (aggregatetype, aggregateid, type) values ('order', 'k', 'T')",
	} {
		if _, err := open.Exec(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	var sink memory
	r := run(t, s.config(&sink))
	s.append(t, "k", "1")
	want(t, &sink, "1")
	s.idled(t, r)
	r.stop()
	s.exec(t, "alter publication gapless add table plain") // with it, the open transaction would have held the slot back
	if err := open.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.append(t, "k", "lost", "lost too")
	s.exec(t, "insert into plain values (gen_random_uuid(), 'a', 'k', 't', 'lost without an xid column')")
	// A slot advances no further than the disk, and the test server commits
	// asynchronously.
	s.exec(t, "set synchronous_commit = on; select pg_logical_emit_message(true, 'flush', '')")
	s.exec(t, "select pg_replication_slot_advance($1, pg_current_wal_lsn())", s.slot)
	s.append(t, "k", "comes by the slot")
	refusal(t, run(t, s.config(&sink)).ended(), "4 rows")
	want(t, &sink, "1")
}

func TestPermanentErrorsEndTheFirstTry(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	for name, url := range map[string]string{
		"no such database": strings.Replace(s.db.URL, s.db.Name, "nowhere", 1),
		"not replication":  s.db.LoginURL(t, pgtest.Consumer),
		"not migrated":     pgtest.NewEmptyDB(t).URL,
	} {
		var sink memory
		cfg := s.config(&sink)
		cfg.DatabaseURL = url
		if name == "not migrated" {
			cfg.Slot = "nothing"
		}
		err := run(t, cfg).ended()
		if err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestUnreachableServerIsWaitedFor(t *testing.T) {
	t.Parallel()
	var sink memory
	var log testkit.Buffer
	s := setup{db: &pgtest.DB{URL: "postgres://nobody@127.0.0.1:1/none"}, slot: "s"}
	cfg := s.config(&sink)
	cfg.Logger = slog.New(slog.NewTextHandler(&log, nil))
	r := run(t, cfg)
	testkit.Eventually(t, patience, func() error {
		if st := r.Status(); st.Reconnects < 2 || st.State != relay.Starting || st.Reason == "" {
			return fmt.Errorf("%+v", st)
		}
		return nil
	})
	const why = "cannot reach Postgres at 127.0.0.1:1: connection refused"
	if reason := r.Status().Reason; reason != why+": start it, or correct --database-url" {
		t.Errorf("reason %q", reason)
	}
	if text := log.String(); !strings.Contains(text, why+`"`) || !strings.Contains(text, "remedy=") || strings.Contains(text, "stream ended") {
		t.Errorf("log: %s", text)
	}
	r.stop()
}

func TestConfigNamesEveryFault(t *testing.T) {
	t.Parallel()
	_, err := relay.New(relay.Config{Slot: "No Slot", MaxBytes: -1, StopTimeout: -time.Second, DeadAfter: time.Second})
	if err == nil {
		t.Fatal("no error")
	}
	for _, field := range []string{"DatabaseURL", "Sink", "Slot", "MaxBytes", "StopTimeout", "DeadAfter"} {
		if !strings.Contains(err.Error(), field) {
			t.Errorf("%v does not name %s", err, field)
		}
	}
	var r *relay.Refusal
	if errors.As(err, &r) {
		t.Error("a bad configuration is no refusal")
	}
}
