package relay_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gapless/gapless/internal/testkit"
	"github.com/gapless/gapless/relay"
	"github.com/gapless/gapless/relay/format"
)

const outboxColumns = "(id text primary key, aggregatetype text, aggregateid text, type text, payload text)"

// inSchema has a relay of a publication of a schema's tables, with one event relayed and
// proven.
func inSchema(t *testing.T, s *setup, sink *memory) (relay.Config, *running) {
	t.Helper()
	if s.version(t) < 150000 {
		t.Skip("no schemas in a publication before 15")
	}
	s.exec(t, "create schema app")
	s.exec(t, "create table app.events "+outboxColumns)
	s.exec(t, "create publication app for tables in schema app with (publish = 'insert')")
	cfg := s.config(sink)
	cfg.Publication = "app"
	cfg.ProofEvery = 20 * time.Millisecond
	r := run(t, cfg)
	s.exec(t, "insert into app.events values ('1', 'order', 'k', 'T', '1')")
	want(t, sink, "1")
	s.proven(t, r)
	return cfg, r
}

// A schema that was out of the publication for a while, like a table.
func TestSchemaTakenOut(t *testing.T) {
	t.Parallel()
	outAndBack := func(t *testing.T, s *setup) {
		s.exec(t, "alter publication app drop tables in schema app")
		s.exec(t, "insert into app.events values ('2', 'order', 'k', 'T', 'seen by no slot')")
		s.exec(t, "alter publication app add tables in schema app")
		s.exec(t, "insert into app.events values ('3', 'order', 'k', 'T', '3')")
	}
	t.Run("under the stream", func(t *testing.T) {
		t.Parallel()
		s := newSetup(t)
		var sink memory
		_, r := inSchema(t, s, &sink)
		outAndBack(t, s)
		refusal(t, r.ended(), "1 rows")
		if slices.Contains(sink.values(), "seen by no slot") {
			t.Error("nothing was missed: the test tests nothing")
		}
	})
	t.Run("while away", func(t *testing.T) {
		t.Parallel()
		s := newSetup(t)
		var sink memory
		cfg, r := inSchema(t, s, &sink)
		r.stop()
		outAndBack(t, s)
		// As after a kill: the slot is not ahead of what is stored.
		s.exec(t, "update gapless.relay_progress set resume_lsn = greatest(resume_lsn, (select confirmed_flush_lsn from pg_replication_slots where slot_name = slot))")
		refusal(t, run(t, cfg).ended(), "publication \"app\" was changed, and 1 rows")
		want(t, &sink, "1")
	})
	t.Run("and not put back", func(t *testing.T) {
		t.Parallel()
		s := newSetup(t)
		var sink memory
		cfg, r := inSchema(t, s, &sink)
		s.exec(t, "create table own "+outboxColumns)
		s.exec(t, "alter publication app add table own")
		s.exec(t, "alter publication app drop tables in schema app")
		refusal(t, r.ended(), "does not publish app.events any more")
		refusal(t, run(t, cfg).ended(), "does not publish app.events any more")
	})
}

// refused waits for a refusal, and returns it.
func refused(t *testing.T, r *running, what string) *relay.Refusal {
	t.Helper()
	err := r.ended()
	refusal(t, err, what)
	var found *relay.Refusal
	if !errors.As(err, &found) {
		t.FailNow()
	}
	return found
}

// A table that was taken out stays missed: rows of it that no slot sends would be
// forgotten with the next proof.
func TestTableTakenOut(t *testing.T) {
	t.Parallel()
	start := func(t *testing.T) (*setup, *memory, relay.Config, *running) {
		t.Helper()
		s := newSetup(t)
		s.exec(t, "create table own "+outboxColumns)
		s.exec(t, "alter publication gapless add table own")
		var sink memory
		cfg := s.config(&sink)
		r := run(t, cfg)
		s.append(t, "k", "1")
		want(t, &sink, "1")
		s.proven(t, r)
		return s, &sink, cfg, r
	}
	t.Run("under the stream", func(t *testing.T) {
		t.Parallel()
		s, _, _, r := start(t)
		s.exec(t, "alter publication gapless drop table gapless.outbox")
		refusal(t, r.ended(), "does not publish gapless.outbox any more") // it looks every ten seconds
	})
	t.Run("put back", func(t *testing.T) {
		t.Parallel()
		s, sink, cfg, r := start(t)
		r.stop()
		s.exec(t, "alter publication gapless drop table gapless.outbox")
		s.append(t, "k", "missed")
		s.follow(t, refused(t, run(t, cfg), "does not publish gapless.outbox any more"))
		s.follow(t, refused(t, run(t, cfg), "1 rows"))
		run(t, cfg)
		want(t, sink, "1", "missed")
	})
	t.Run("put back before anything is acknowledged", func(t *testing.T) {
		t.Parallel()
		s := newSetup(t)
		var sink memory
		sink.hold()
		cfg := s.config(&sink)
		cfg.StopTimeout = time.Millisecond
		r := run(t, cfg)
		s.append(t, "k", "1")
		want(t, &sink, "1")
		testkit.Eventually(t, patience, func() error {
			var proofs int
			err := s.pool.QueryRow(t.Context(), "select jsonb_array_length(proofs) from gapless.relay_progress").Scan(&proofs)
			if err == nil && proofs == 0 {
				err = errors.New("no proof is stored")
			}
			return err
		})
		r.stop()
		if st := r.Status(); st.Events != 0 {
			t.Fatalf("acknowledged: %+v", st)
		}
		s.exec(t, "alter publication gapless drop table gapless.outbox")
		s.append(t, "k", "missed")
		s.exec(t, "alter publication gapless add table gapless.outbox")
		refusal(t, run(t, cfg).ended(), "was changed")
	})
	t.Run("for good", func(t *testing.T) {
		t.Parallel()
		s, sink, cfg, r := start(t)
		r.stop()
		s.exec(t, "alter publication gapless drop table own")
		_, statement, ok := strings.Cut(refused(t, run(t, cfg), "does not publish public.own any more").Remedy, "run in its stead: ")
		if !ok {
			t.Fatal("no statement for that")
		}
		s.exec(t, statement)
		run(t, cfg)
		s.append(t, "k", "2")
		want(t, sink, "1", "2")
	})
	for name, c := range map[string]struct {
		statement string
		change    func(*relay.Config)
	}{
		"dropped":  {"drop table own", func(*relay.Config) {}},
		"left out": {"alter publication gapless drop table own", func(c *relay.Config) { c.Tables = map[string]format.Format{"public.own": nil} }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, sink, cfg, r := start(t)
			r.stop()
			s.exec(t, c.statement)
			c.change(&cfg)
			run(t, cfg)
			s.append(t, "k", "2")
			want(t, sink, "1", "2")
		})
	}
}

// publish_via_partition_root taken back under the stream: what comes before that is
// noticed is its table's still, and waits behind what that has parked.
func TestPartitionsPublishedUnderTheStream(t *testing.T) {
	t.Parallel()
	t.Run("gapless.outbox", func(t *testing.T) {
		t.Parallel()
		s := newSetup(t)
		sink := memory{refuse: poison}
		r := run(t, s.config(&sink))
		s.append(t, "k", "0", "poison", "1")
		wantParked(t, s, "parked k poison too_large", "waiting k 1 waiting")
		s.proven(t, r)
		s.exec(t, "alter publication gapless set (publish_via_partition_root = false)")
		s.append(t, "k", "2")
		refusal(t, r.ended(), "in place of gapless.outbox")
		wantParked(t, s, "parked k poison too_large", "waiting k 1 waiting", "waiting k 2 waiting")
		s.exec(t, "alter publication gapless set (publish_via_partition_root = true)")
		s.append(t, "other", "3")
		r = run(t, s.config(&sink))
		testkit.Eventually(t, patience, func() error {
			select {
			case <-r.done: // "2" is passed, and younger than the newest proof
				s.follow(t, refused(t, r, "publication \"gapless\" was changed, and 1 rows"))
				r = run(t, s.config(&sink))
			default:
			}
			if got := sink.values(); !slices.Equal(got, []string{"0", "3"}) {
				return fmt.Errorf("got %q", got)
			}
			return nil
		})
	})
	t.Run("a table of one's own", func(t *testing.T) {
		t.Parallel()
		s := newSetup(t)
		s.exec(t, "create table parts (id text, aggregatetype text, aggregateid text, type text, payload text) partition by list (aggregatetype)")
		s.exec(t, "create table parts_order partition of parts for values in ('order')")
		s.exec(t, "create publication own for table parts with (publish = 'insert', publish_via_partition_root = true)")
		sink := memory{refuse: poison}
		cfg := s.config(&sink)
		cfg.Publication = "own"
		r := run(t, cfg)
		s.exec(t, "insert into parts values ('1', 'order', 'k', 'T', 'poison')")
		wantParked(t, s, "parked k poison too_large")
		s.proven(t, r)
		s.exec(t, "alter publication own set (publish_via_partition_root = false)")
		s.exec(t, "insert into parts values ('2', 'order', 'k', 'T', '2'), ('3', 'order', 'other', 'T', '3')")
		want(t, &sink, "3")
		wantParked(t, s, "parked k poison too_large", "waiting k 2 waiting")
	})
}

// A partition that is taken off before its rows are read: they are not taken for those of
// a table of its own, whose keys nothing blocks.
func TestPartitionTakenOffBeforeItIsRead(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	s.exec(t, "create table parts (id text, aggregatetype text, aggregateid text, type text, payload text) partition by list (aggregatetype)")
	s.exec(t, "create table parts_order partition of parts for values in ('order')")
	s.exec(t, "create table plain (like parts)")
	s.exec(t, "create publication own for table parts, plain with (publish = 'insert')")
	sink := memory{refuse: poison}
	cfg := s.config(&sink)
	cfg.Publication = "own"
	r := run(t, cfg)
	s.exec(t, "insert into parts values ('1', 'order', 'k', 'T', 'poison')")
	wantParked(t, s, "parked k poison too_large")
	s.proven(t, r)
	r.stop()
	s.exec(t, "insert into parts values ('2', 'order', 'k', 'T', '2')")
	s.exec(t, "alter table parts detach partition parts_order")
	refusal(t, run(t, cfg).ended(), "it may have been a partition of public.parts")
	if got := sink.values(); len(got) > 0 {
		t.Errorf("sent %q", got)
	}
	s.exec(t, "alter table parts attach partition parts_order for values in ('order')")
	s.exec(t, "insert into plain values ('3', 'order', 'k', 'T', '3')")
	run(t, cfg)
	want(t, &sink, "3")
	wantParked(t, s, "parked k poison too_large", "waiting k 2 waiting")
}

// What the relay writes must not come out of its publication: each row would be another.
func TestPublicationOfItsOwnTables(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		publication string
		since       int
	}{
		"all tables":         {"for all tables with (publish_via_partition_root = true)", 0},
		"all, by partition":  {"for all tables", 0},
		"the schema":         {"for tables in schema gapless with (publish = 'insert', publish_via_partition_root = true)", 150000},
		"one of them, named": {"for table gapless.outbox, gapless.dead_letter, gapless.parked with (publish = 'insert', publish_via_partition_root = true)", 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSetup(t)
			if s.version(t) < c.since {
				t.Skip("not in this version")
			}
			s.exec(t, "create publication everything "+c.publication)
			var sink memory
			cfg := s.config(&sink)
			cfg.Publication = "everything"
			s.follow(t, refused(t, run(t, cfg), "which the relay itself writes"))
			run(t, cfg)
			s.append(t, "k", "1")
			want(t, &sink, "1")
		})
	}
}

// The publication gets them under the stream: they are passed over.
func TestItsOwnTablesAreNoEvents(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	sink := memory{refuse: poison}
	r := run(t, s.config(&sink))
	s.append(t, "k", "1")
	want(t, &sink, "1")
	s.exec(t, "alter publication gapless add table gapless.parked, gapless.relay_request")
	s.append(t, "a", "poison")
	s.append(t, "k", "2")
	wantParked(t, s, "parked a poison too_large")
	want(t, &sink, "1", "2")
	s.stored(t, r, 3)
	// Behind what parking has written there.
	s.append(t, "k", "3")
	want(t, &sink, "1", "2", "3")
	s.stored(t, r, 4)
	if got := s.parked(t); len(got) != 1 {
		t.Errorf("parked %q", got)
	}
}
