package relay_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/gapless/gapless/internal/testkit"
	"github.com/gapless/gapless/relay"
)

// What a refusal tells a person to do must work as it is printed.
func TestRemediesWork(t *testing.T) {
	t.Parallel()
	for name, damage := range map[string]func(t *testing.T, s *setup){
		"slot dropped": func(t *testing.T, s *setup) {
			s.exec(t, "select pg_drop_replication_slot($1)", s.slot)
			s.append(t, "k", "lost", "lost too")
		},
		"slot dropped and made again": func(t *testing.T, s *setup) {
			s.exec(t, "select pg_drop_replication_slot($1)", s.slot)
			s.append(t, "k", "lost", "lost too")
			s.exec(t, "select pg_create_logical_replication_slot($1, 'pgoutput')", s.slot)
		},
		"record and slot gone": func(t *testing.T, s *setup) {
			s.exec(t, "select pg_drop_replication_slot($1)", s.slot)
			s.exec(t, "delete from gapless.relay_progress")
			s.append(t, "k", "lost", "lost too")
		},
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
			damage(t, s)
			var refusal *relay.Refusal
			if err := run(t, s.config(&sink)).ended(); !errors.As(err, &refusal) {
				t.Fatalf("error %v, want a refusal", err)
			}
			s.follow(t, refusal)
			r = run(t, s.config(&sink))
			testkit.Eventually(t, patience, func() error {
				got := sink.values()
				if !slices.Contains(got, "lost") || got[len(got)-1] != "lost too" {
					return fmt.Errorf("got %q", got)
				}
				return nil
			})
			s.append(t, "k", "next")
			testkit.Eventually(t, patience, func() error {
				if got := sink.values(); got[len(got)-1] != "next" {
					return fmt.Errorf("got %q", got)
				}
				return nil
			})
			r.stop()
		})
	}
}

// What a lost slot's remedy sends goes by what was proven, not by a time: a row is committed
// long after it was written, and one that waits for its topic is passed by younger ones.
func TestRemedyGoesByProof(t *testing.T) {
	t.Parallel()
	remedied := func(t *testing.T, s *setup, cfg relay.Config) {
		t.Helper()
		s.exec(t, "select pg_drop_replication_slot($1)", s.slot)
		var refusal *relay.Refusal
		if err := run(t, cfg).ended(); !errors.As(err, &refusal) {
			t.Fatalf("error %v, want a refusal", err)
		}
		s.follow(t, refusal)
	}
	t.Run("a long transaction", func(t *testing.T) {
		t.Parallel()
		s := newSetup(t)
		var sink memory
		r := run(t, s.config(&sink))
		s.append(t, "k", "proven")
		want(t, &sink, "proven")
		s.proven(t, r)
		r.stop()
		s.exec(t, `insert into gapless.outbox (aggregatetype, aggregateid, type, payload, created_at)
			values ('order', 'long', 'T', 'of hours ago', now() - interval '2 hours')`)
		remedied(t, s, s.config(&sink))
		run(t, s.config(&sink))
		s.append(t, "k", "next")
		want(t, &sink, "proven", "of hours ago", "next") // and what is proven does not come again
	})
	t.Run("a topic held", func(t *testing.T) {
		t.Parallel()
		s := newSetup(t)
		sink := newTopical(false)
		r := run(t, s.config(sink))
		s.append(t, "k", "proven")
		want(t, &sink.memory, "proven")
		s.proven(t, r)
		s.exec(t, `insert into gapless.outbox (aggregatetype, aggregateid, type, payload, created_at)
			values ('away', 'k', 'T', 'held', now() - interval '2 hours')`)
		<-sink.asked
		s.append(t, "k", "younger")
		want(t, &sink.memory, "proven", "younger")
		r.stop()
		var after memory
		remedied(t, s, s.config(&after))
		run(t, s.config(&after))
		s.append(t, "k", "next")
		testkit.Eventually(t, patience, func() error {
			if got := after.values(); !slices.Contains(got, "next") {
				return fmt.Errorf("got %q", got)
			}
			return nil
		})
		if got := after.values(); !slices.Contains(got, "held") || slices.Contains(got, "proven") {
			t.Errorf("sent %q", got)
		}
	})
}

// A publication that was dropped under the slot and made again cannot be read by
// it, until Postgres 17: that is said, with what to do, and not tried for ever.
func TestPublicationMadeAgainIsRefused(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	var sink memory
	r := run(t, s.config(&sink))
	s.append(t, "k", "1")
	want(t, &sink, "1")
	s.stored(t, r, 1)
	r.stop()
	s.exec(t, "drop publication gapless")
	s.exec(t, "create table beside (n int)")
	s.exec(t, "insert into beside values (1)") // WAL that the slot must decode
	s.append(t, "k", "lost")
	s.exec(t, "create publication gapless for table gapless.outbox, gapless.dead_letter with (publish = 'insert', publish_via_partition_root = true)")
	// What a person may have done on the way: the record trusts the publication again.
	s.exec(t, "update gapless.relay_progress set proofs = '[]', publication_fingerprint = null")
	if s.version(t) >= 180000 {
		// It can be read, without what was written meanwhile: whoever took the proofs
		// away has vouched for that.
		s.append(t, "k", "next")
		run(t, s.config(&sink))
		want(t, &sink, "1", "next")
		return
	}
	var refusal *relay.Refusal
	if err := run(t, s.config(&sink)).ended(); !errors.As(err, &refusal) || !strings.Contains(err.Error(), "made after slot") {
		t.Fatalf("error %v, want a refusal", err)
	}
	s.follow(t, refusal)
	run(t, s.config(&sink))
	want(t, &sink, "1", "1", "lost")
}

func (s *setup) version(t *testing.T) (n int) {
	t.Helper()
	if err := s.pool.QueryRow(t.Context(), "select current_setting('server_version_num')::int").Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// follow runs the statements of a refusal.
func (s *setup) follow(t *testing.T, r *relay.Refusal) {
	t.Helper()
	if len(r.SQL) == 0 {
		t.Fatalf("no statement with %q", r.Remedy)
	}
	for _, statement := range r.SQL {
		if strings.ContainsAny(statement, "\n;") {
			t.Errorf("no single statement on one line: %s", statement)
		}
		s.exec(t, statement)
	}
}

// A person pastes these: a name must not be able to end the literal that it is in.
func TestRemediesQuoteTheSlot(t *testing.T) {
	t.Parallel()
	const name = "x', 'pgoutput'); alter role relay superuser; --"
	for _, r := range []*relay.Refusal{relay.SlotMissing(name), relay.SlotLost(name)} {
		if len(r.SQL) == 0 {
			t.Fatal("no statement")
		}
		for _, statement := range r.SQL {
			if rest := strings.ReplaceAll(statement, "'x'', ''pgoutput''); alter role relay superuser; --'", ""); rest == statement || strings.Contains(rest, "superuser") {
				t.Errorf("%s", statement)
			}
		}
	}
}
