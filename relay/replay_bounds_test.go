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

const replayedTable = "create schema app; create table app.events (seq bigint generated always as identity, id text, aggregatetype text, aggregateid text, type text, payload text)"

func (s *setup) event(t *testing.T, value string) {
	t.Helper()
	s.exec(t, "insert into app.events (id, aggregatetype, aggregateid, type, payload) values ($1, 'order', 'k', 'T', $1)", value)
}

// Two relays of one database: what the one has passed tells nothing of the other's tables.
func TestReplayByAnotherRelaysSlot(t *testing.T) {
	t.Parallel()
	for name, publication := range map[string]string{
		"of a table":  "create publication own for table app.events with (publish = 'insert')",
		"of a schema": "create publication own for tables in schema app with (publish = 'insert')",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSetup(t)
			s.exec(t, replayedTable)
			s.exec(t, "grant usage on schema app to gapless_relay; grant select on app.events to gapless_relay")
			s.exec(t, publication)
			own := *s
			own.slot = s.db.Slot(t, "own")
			var native, stream, sink memory
			first := run(t, s.config(&native))
			cfg := own.config(&stream)
			cfg.Publication = "own"
			r := run(t, cfg)
			s.event(t, "1")
			want(t, &stream, "1")
			request := relay.ReplayRequest{Table: "app.events", OrderBy: "seq"}
			if plan, err := own.replayer(t, &sink).Plan(t.Context(), request); err != nil || plan.Rows != 1 {
				t.Fatalf("the table's own relay: %+v, %v", plan, err)
			}
			r.stop()
			s.event(t, "nobody has sent it")
			s.append(t, "k", "native")
			s.stored(t, first, 1)
			_, err := s.replayer(t, &sink).Plan(t.Context(), request)
			if !errors.Is(err, relay.ErrReplayInput) || !strings.Contains(err.Error(), "--slot: "+own.slot) {
				t.Errorf("the other relay: %v", err)
			}
		})
	}
}

// Rows that are older than the slot were never sent. Where that is known they are left
// out, else the plan says that it is not.
func TestReplayOfWhatMayNeverHaveBeenSent(t *testing.T) {
	t.Parallel()
	for _, known := range []bool{false, true} {
		t.Run(fmt.Sprintf("known %t", known), func(t *testing.T) {
			t.Parallel()
			s := newSetup(t)
			s.exec(t, replayedTable)
			s.exec(t, "grant usage on schema app to gapless_relay; grant select, delete on app.events to gapless_relay")
			s.event(t, "older")
			s.exec(t, "alter publication gapless add table app.events")
			var stream, sink memory
			cfg := s.config(&stream)
			if known {
				s.exec(t, "alter table app.events add column at timestamptz default now()")
				cfg.Retention.Tables = map[string]relay.TableRetention{"app.events": {After: 1 << 50, Column: "at"}}
			}
			r := run(t, cfg)
			if known {
				testkit.Eventually(t, patience, func() error {
					if s.rows(t, "gapless.relay_table") == 0 {
						return errors.New("nothing is noted")
					}
					return nil
				})
			}
			s.event(t, "2")
			want(t, &stream, "2")
			s.stored(t, r, 1)
			replayer := s.replayer(t, &sink)
			request := relay.ReplayRequest{Table: "app.events", OrderBy: "seq"}
			// A transaction that another test has open keeps the row out of the plan.
			testkit.Eventually(t, patience, func() error {
				plan, err := replayer.Plan(t.Context(), request)
				if err != nil || plan.Vouched != known || plan.Rows > 2 {
					t.Fatalf("plan %+v, %v", plan, err)
				}
				if want := map[bool]int64{true: 1, false: 2}[known]; plan.Rows != want {
					return fmt.Errorf("%d rows, want %d", plan.Rows, want)
				}
				return nil
			})
			replayAll(t, replayer, request)
			if got := sink.values(); slices.Contains(got, "older") == known || !slices.Contains(got, "2") {
				t.Errorf("sent %q", got)
			}
		})
	}
}

// The database fails over under a replay: from then on the ids of transactions in its
// snapshot mean others.
func TestReplayEndsAtAFailover(t *testing.T) {
	t.Parallel()
	for _, when := range []string{"before a page", "before it is stored"} {
		t.Run(when, func(t *testing.T) {
			t.Parallel()
			s := newSetup(t)
			var stream, sink memory
			r := run(t, s.config(&stream))
			s.append(t, "k", oneTo(6)...)
			s.stored(t, r, 6)
			pages := 0
			over := func() { s.exec(t, "update gapless.relay_progress set timeline = timeline + 1 where slot = $1", s.slot) }
			replayer := s.replayer(t, &sink, func(c *relay.ReplayConfig) {
				c.Progress = func(relay.ReplayState) {
					if pages++; pages == 1 && when == "before a page" {
						over()
					}
				}
			})
			id := opened(t, replayer, relay.ReplayRequest{Rate: 2})
			r.stop()
			if when == "before it is stored" {
				sink.refuse = func(v sent) error {
					if v.value == "3" {
						over()
					}
					return nil
				}
			}
			state, err := replayer.Run(t.Context(), id)
			if !errors.Is(err, relay.ErrReplayInput) || !strings.Contains(err.Error(), "history") || pages != 1 {
				t.Errorf("%d pages, state %+v, error %v", pages, state, err)
			}
			var stored int
			if err := s.pool.QueryRow(t.Context(), "select sent from gapless.relay_replay where id = $1", id).Scan(&stored); err != nil || stored != 2 {
				t.Errorf("%d are noted as sent, %v", stored, err)
			}
		})
	}
}
