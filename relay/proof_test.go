package relay_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/gapless/gapless/internal/pgtest"
	"github.com/gapless/gapless/internal/testkit"
	"github.com/gapless/gapless/relay/format"
)

// twoTables has a relay that has relayed a row of each of two tables with ids of their
// own, and proven it.
func twoTables(t *testing.T) (*setup, *memory) {
	t.Helper()
	s := newSetup(t)
	s.exec(t, "create table a "+outboxColumns)
	s.exec(t, "create table b "+outboxColumns)
	s.exec(t, "alter publication gapless add table a, b")
	sink := &memory{}
	r := run(t, s.config(sink))
	s.exec(t, "insert into a values ('1', 'order', 'k', 'T', 'a1')")
	s.exec(t, "insert into b values ('1', 'order', 'k', 'T', 'b1')")
	want(t, sink, "a1", "b1")
	s.proven(t, r)
	r.stop()
	return s, sink
}

// passOver moves the slot on, past what was written.
func (s *setup) passOver(t *testing.T) {
	t.Helper()
	// A slot advances no further than the disk, and the test server commits asynchronously.
	s.exec(t, "set synchronous_commit = on; select pg_logical_emit_message(true, 'flush', '')")
	s.exec(t, "select pg_replication_slot_advance($1, pg_current_wal_lsn())", s.slot)
}

// What still comes of one table does not stand for a row of another that has the same id.
func TestSameIDInTwoTables(t *testing.T) {
	t.Parallel()
	for name, lose := range map[string]func(t *testing.T, s *setup, insert func()){
		"taken out": func(t *testing.T, s *setup, insert func()) {
			s.exec(t, "alter publication gapless drop table a")
			insert()
			s.exec(t, "alter publication gapless add table a")
		},
		"slot moved": func(t *testing.T, s *setup, insert func()) {
			insert()
			s.passOver(t)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, sink := twoTables(t)
			lose(t, s, func() { s.exec(t, "insert into a values ('2', 'order', 'k', 'T', 'lost')") })
			s.exec(t, "insert into b values ('2', 'order', 'k', 'T', 'b2')")
			refusal(t, run(t, s.config(sink)).ended(), "1 rows")
			want(t, sink, "a1", "b1")
		})
	}
}

// Rows that nobody wants are not missing, however far an idle relay moves the slot past them.
func TestLeftOutTableIsNoReasonToRefuse(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	s.exec(t, "create table left_out (n int)")
	s.exec(t, "alter publication gapless add table left_out")
	var sink memory
	cfg := s.config(&sink)
	cfg.Tables = map[string]format.Format{"public.left_out": nil}
	r := run(t, cfg)
	s.append(t, "k", "1")
	want(t, &sink, "1")
	s.proven(t, r)
	s.exec(t, "insert into left_out values (1)")
	var after string
	if err := s.pool.QueryRow(t.Context(), "select pg_current_wal_insert_lsn()::text").Scan(&after); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, patience, func() error {
		s.exec(t, "select pg_logical_emit_message(false, 'other', 'wal')")
		var passed bool
		if err := s.pool.QueryRow(t.Context(), "select $1::text::pg_lsn >= $2::text::pg_lsn", r.Status().Confirmed.String(), after).Scan(&passed); err != nil || !passed {
			return fmt.Errorf("%+v: %w", r.Status(), err)
		}
		return nil
	})
	r.stop()
	run(t, cfg)
	s.append(t, "k", "2")
	want(t, &sink, "1", "2")
}

// Row security hides rows from the relay's login, and with them what a start looks for.
func TestRowSecurityIsRefused(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	s.exec(t, "create table a "+outboxColumns)
	s.exec(t, "alter table a enable row level security")
	s.exec(t, "create policy tenants on a using (aggregateid = current_setting('app.tenant', true))")
	s.exec(t, "grant select on a to gapless_relay")
	s.exec(t, "alter publication gapless add table a")
	var sink memory
	cfg := s.config(&sink)
	cfg.DatabaseURL = s.db.LoginURL(t, pgtest.Relay)
	r := run(t, cfg)
	s.exec(t, "insert into a values ('1', 'order', 'k', 'T', '1')")
	want(t, &sink, "1")
	s.proven(t, r)
	r.stop()
	s.exec(t, "insert into a values ('2', 'order', 'k', 'T', 'lost')")
	s.passOver(t)
	found := refused(t, run(t, cfg), "row security may hide rows of public.a")
	if !slices.Equal(found.SQL, []string{`ALTER ROLE "test_gapless_relay" BYPASSRLS`}) {
		t.Errorf("%q", found.SQL)
	}
}
