package relay_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gapless/gapless/internal/pgtest"
	"github.com/gapless/gapless/internal/testkit"
	"github.com/gapless/gapless/relay"
	"github.com/gapless/gapless/relay/format"
)

func (s *setup) appendKind(t testing.TB, aggregate, key string, values ...string) {
	t.Helper()
	if s.kafka != nil {
		s.exec(t, "insert into "+ownTable+" (aggregatetype, aggregateid, type, payload) select $1, $2, 'T', v from unnest($3::text[]) with ordinality as u(v, n) order by n", aggregate, key, values)
		return
	}
	s.exec(t, "insert into gapless.outbox (aggregatetype, aggregateid, type, payload) select $1, $2, 'T', convert_to(v, 'UTF8') from unnest($3::text[]) with ordinality as u(v, n) order by n", aggregate, key, values)
}

// What became of a parked row stands, although the position is still before it and
// another process reads it again.
func TestSettledRowsAreNotReadAgain(t *testing.T) {
	t.Parallel()
	for name, refuse := range map[string]func(sent) error{"refused again": poison, "taken now": nil} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inBoth(t, func(t *testing.T, s *setup) {
				first := newTopical(false)
				first.refuse = poison
				r := run(t, s.config(first))
				s.appendKind(t, "away", "h", "h1")
				s.append(t, "a", "poison")
				wantParked(t, s, "parked a poison too_large")
				s.finished(t, s.request(t, "discard"))
				s.append(t, "a", "a1")
				want(t, &first.memory, "a1")
				r.stop()
				second := memory{refuse: refuse}
				r = run(t, s.config(&second))
				s.append(t, "a", "a2")
				want(t, &second, "h1", "a1", "a2")
				s.stored(t, r, 3)
				wantParked(t, s, "discarded a poison too_large")
			})
		})
	}
	t.Run("skipped", func(t *testing.T) {
		t.Parallel()
		inBoth(t, func(t *testing.T, s *setup) {
			first := newTopical(false)
			first.refuse = poison
			cfg := s.config(first)
			cfg.OnFault = map[string]relay.Policy{format.TooLarge: relay.Skip}
			r := run(t, cfg)
			s.appendKind(t, "away", "h", "h1")
			s.append(t, "a", "poison")
			wantParked(t, s, "parked a poison too_large")
			r.stop()
			var second memory
			run(t, s.config(&second))
			s.append(t, "b", "b1")
			want(t, &second, "h1", "b1")
			s.finished(t, s.request(t, "redrive"))
			want(t, &second, "h1", "b1", "poison")
		})
	})
}

// Rows that wait for a row that is gone go out when a stream begins.
func TestRowsThatWaitForNone(t *testing.T) {
	t.Parallel()
	inBoth(t, rowsThatWaitForNone)
}

func rowsThatWaitForNone(t *testing.T, s *setup) {
	t.Helper()
	sink := memory{refuse: poison}
	r := run(t, s.config(&sink))
	s.append(t, "a", "poison", "a1")
	s.append(t, "b", "poison", "b1")
	wantParked(t, s, "parked a poison too_large", "waiting a a1 waiting", "parked b poison too_large", "waiting b b1 waiting")
	s.stored(t, r, 4)
	r.stop()
	s.lose(t, "a")
	run(t, s.config(&sink))
	s.append(t, "a", "a2")
	want(t, &sink, "a1", "a2")
	wantParked(t, s, "redriven a a1 waiting", "parked b poison too_large", "waiting b b1 waiting")
}

// A row that is redriven to a topic which takes nothing follows when it does, though no
// row of the stream waits for it.
func TestRedriveToATopicThatIsHeld(t *testing.T) {
	t.Parallel()
	inBoth(t, redriveToATopicThatIsHeld)
}

func redriveToATopicThatIsHeld(t *testing.T, s *setup) {
	t.Helper()
	sink := newTopical(false)
	sink.away = ""
	sink.refuse = poison
	run(t, s.config(sink))
	s.appendKind(t, "away", "h", "poison", "h1")
	wantParked(t, s, "parked h poison too_large", "waiting h h1 waiting")
	sink.mu.Lock()
	sink.refuse, sink.away = nil, "outbox.event.away"
	sink.mu.Unlock()
	request := s.request(t, "redrive")
	<-sink.asked
	close(sink.back)
	s.finished(t, request)
	want(t, &sink.memory, "poison", "h1")
}

// Retention takes nothing of which it is not known that it was sent: rows from before
// the table was published, of a table that is not, or that is left out.
func TestRetentionOfWhatWasNeverSent(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"before the publication", "not published"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			s := newSetup(t)
			s.exec(t, "create table shop_outbox (id uuid primary key, aggregatetype text, aggregateid text, type text, payload text)")
			var sink memory
			cfg := s.config(&sink)
			cfg.ProofEvery = 50 * time.Millisecond
			cfg.Retention.Tables = map[string]relay.TableRetention{"public.shop_outbox": {}}
			s.exec(t, "insert into shop_outbox values (gen_random_uuid(), 'order', 'k', 'T', 'never sent')")
			if how == "before the publication" {
				s.exec(t, "alter publication gapless add table shop_outbox")
			}
			run(t, cfg)
			deleted := func(want int) error {
				s.append(t, "k", "1")
				if n := s.rows(t, "shop_outbox"); n != want {
					return fmt.Errorf("%d rows, want %d", n, want)
				}
				return nil
			}
			if how == "before the publication" {
				// A row of which it is known goes, and the other stays.
				testkit.Eventually(t, patience, func() error {
					if n := s.rows(t, "gapless.relay_table"); n != 1 {
						return errors.New("not noted yet")
					}
					return nil
				})
				s.exec(t, "insert into shop_outbox values (gen_random_uuid(), 'order', 'k', 'T', 'sent')")
				testkit.Eventually(t, 2*patience, func() error {
					if !slices.Contains(sink.values(), "sent") {
						return errors.New("not sent")
					}
					return deleted(1)
				})
				return
			}
			// Two looks, with proofs between them.
			looked := time.Now()
			testkit.Eventually(t, 2*patience, func() error {
				if err := deleted(1); err != nil {
					t.Fatal(err)
				}
				if d := time.Since(looked); d < 12*time.Second {
					return fmt.Errorf("for %s only", d)
				}
				return nil
			})
		})
	}
	var sink memory
	_, err := relay.New(relay.Config{
		DatabaseURL: "postgres://", Sink: &sink, Tables: map[string]format.Format{"a.b": nil},
		Retention: relay.Retention{Tables: map[string]relay.TableRetention{"a.b": {}}},
	})
	if err == nil || !strings.Contains(err.Error(), "left out") {
		t.Errorf("a table that is left out: %v", err)
	}
}

// A relay of other tables proves nothing about the outbox.
func TestRetentionByAStranger(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	s.exec(t, outboxOfDays)
	s.exec(t, insertOld)
	s.exec(t, "create table shop_outbox (id uuid primary key, aggregatetype text, aggregateid text, type text, payload text)")
	s.exec(t, "create publication shop for table shop_outbox with (publish = 'insert')")
	s.exec(t, "select pg_drop_replication_slot($1)", s.slot)
	s.exec(t, "select pg_create_logical_replication_slot($1, 'pgoutput')", s.slot)
	var sink memory
	cfg := retention(s, &sink)
	cfg.Publication = "shop"
	r := run(t, cfg)
	s.exec(t, "insert into shop_outbox values (gen_random_uuid(), 'order', 'k', 'T', 'x')")
	want(t, &sink, "x")
	s.stored(t, r, 1)
	testkit.Eventually(t, patience, func() error {
		var n int64
		err := s.pool.QueryRow(t.Context(), "select gapless.outbox_retire('5 days')").Scan(&n)
		if err == nil || !strings.Contains(err.Error(), "has gapless.outbox in its publication") {
			return fmt.Errorf("%d taken off, %w", n, err)
		}
		return nil
	})
	if n := s.rows(t, "gapless.outbox"); n != 10 {
		t.Errorf("%d rows of 10", n)
	}
}

// A publication that stops publishing inserts is noticed under the stream.
func TestInsertsAreNoLongerPublished(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	var sink memory
	cfg := s.config(&sink)
	cfg.ProofEvery = 50 * time.Millisecond
	r := run(t, cfg)
	s.append(t, "k", "1")
	want(t, &sink, "1")
	s.exec(t, "alter publication gapless set (publish = 'update')")
	s.append(t, "k", "2")
	refusal(t, r.ended(), "does not publish inserts")
}

// A request of which it is not known whether it was closed ends the stream, and the next
// one finds out which keys are free.
func TestRequestsThatCannotBeFinished(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	sink := memory{refuse: poison}
	cfg := s.config(&sink)
	cfg.DatabaseURL = s.db.LoginURL(t, pgtest.Relay)
	r := run(t, cfg)
	s.append(t, "a", "poison", "a1")
	wantParked(t, s, "parked a poison too_large", "waiting a a1 waiting")
	accepting(&sink)
	s.exec(t, "revoke update on gapless.relay_request from gapless_relay")
	request := s.request(t, "redrive")
	want(t, &sink, "poison", "a1")
	testkit.Eventually(t, patience, func() error {
		if st := r.Status(); st.Reconnects == 0 {
			return fmt.Errorf("%+v", st)
		}
		return nil
	})
	s.append(t, "a", "a2")
	s.exec(t, "grant update on gapless.relay_request to gapless_relay")
	s.finished(t, request)
	want(t, &sink, "poison", "a1", "a2")
}
