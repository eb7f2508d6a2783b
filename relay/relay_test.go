package relay_test

import (
	"errors"
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/gapless/gapless/internal/pgtest"
	"github.com/gapless/gapless/internal/testkit"
	"github.com/gapless/gapless/relay"
	"github.com/gapless/gapless/relay/kafkastate"
)

func TestRowsArriveInCommitOrder(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	s.append(t, "k", "before the relay")
	var sink memory
	r := run(t, s.config(&sink))
	s.append(t, "k", "1", "2", "3")
	s.exec(t, "begin; insert into gapless.outbox (aggregatetype, aggregateid, type) values ('order', 'k', 'T'); rollback")
	s.append(t, "k", "4")
	want(t, &sink, "before the relay", "1", "2", "3", "4")
	s.stored(t, r, 5)
	got := sink.records()[1]
	if got.topic != "outbox.event.order" || got.key != "k" || got.header("ce_type") != "T" || got.header("content-type") != "" {
		t.Errorf("%+v", got)
	}
	if want := fmt.Sprintf("1/%s/0", got.position.Commit); got.header("gapless_position") != want {
		t.Errorf("position header %q, want %q", got.header("gapless_position"), want)
	}
	r.stop()
	if st := r.Status(); st.State != relay.Stopped || st.Events != 5 {
		t.Errorf("status after the stop: %+v", st)
	}

	again := run(t, s.config(&sink))
	s.append(t, "k", "5")
	want(t, &sink, "before the relay", "1", "2", "3", "4", "5")
	again.stop()
	if !sink.closed {
		t.Error("sink was not closed")
	}
}

// What a reader of rows and ids would lose: deleted at once, and an early
// transaction that commits late.
func TestWhatSelectWouldMiss(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	var sink memory
	run(t, s.withMessages(&sink))
	late, err := s.pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := late.Exec(t.Context(), "select pg_current_xact_id()"); err != nil {
		t.Fatal(err)
	}
	s.append(t, "k", "second xid, first commit")
	if _, err := late.Exec(t.Context(), `insert into gapless.outbox (aggregatetype, aggregateid, type, payload) values ('order', 'k', 'T', 'first xid, second commit')`); err != nil {
		t.Fatal(err)
	}
	if err := late.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := pgx.BeginFunc(t.Context(), s.pool, func(tx pgx.Tx) error {
		_, err := tx.Exec(t.Context(), `
			with w as (insert into gapless.outbox (aggregatetype, aggregateid, type, payload) values ('order', 'k', 'T', 'deleted at once') returning id)
			select from w`)
		if err != nil {
			return err
		}
		_, err = tx.Exec(t.Context(), `delete from gapless.outbox`)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	s.exec(t, "select pg_logical_emit_message(true, 'other', 'not ours')")
	s.exec(t, `select pg_logical_emit_message(true, 'gapless.outbox', $1)`,
		`{"id":"0198c2f0-1234-7abc-8def-0123456789ab","aggregatetype":"order","aggregateid":"k","type":"T","payload":"d2FsIG1vZGU=","headers":{},"created_at":"2026-11-23T00:00:00Z"}`)
	want(t, &sink, "second xid, first commit", "first xid, second commit", "deleted at once", "wal mode")
}

// halfSent waits until that many changes of a transaction are stored as sent.
func (s *setup) halfSent(t *testing.T, changes int64) {
	t.Helper()
	testkit.Eventually(t, patience, func() error {
		var n int64
		var err error
		if s.kafka != nil {
			err = s.inState(t.Context(), func(state *kafkastate.Slot) error {
				if state.Progress != nil {
					n = state.Progress.PartialIndex
				}
				return nil
			})
		} else {
			err = s.pool.QueryRow(t.Context(), "select partial_index from gapless.relay_progress where slot = $1", s.slot).Scan(&n)
		}
		if err != nil {
			return err
		}
		if n != changes {
			return fmt.Errorf("partial index %d, want %d", n, changes)
		}
		return nil
	})
}

// Nothing acknowledged: everything again. Part of a transaction acknowledged:
// the rest of it, and nothing twice.
func TestRestartInMidTransaction(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	var first memory
	first.hold()
	cfg := s.config(&first)
	cfg.StopTimeout = 200 * time.Millisecond
	r := run(t, cfg)
	s.append(t, "k", "1", "2", "3", "4")
	want(t, &first, "1", "2", "3", "4")
	first.ackFirst(2)
	s.halfSent(t, 2)
	r.stop()

	var second memory
	r = run(t, s.config(&second))
	want(t, &second, "3", "4")
	s.append(t, "k", "5")
	want(t, &second, "3", "4", "5")
	s.stored(t, r, 3)
}

func TestStreamBreaks(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	var sink memory
	r := run(t, s.config(&sink))
	var all []string
	for i := range 5 {
		v := strconv.Itoa(i)
		all = append(all, v)
		s.append(t, "k", v)
		want(t, &sink, all...)
		s.stored(t, r, uint64(i+1))
		before := r.Status().Reconnects
		s.exec(t, "select pg_terminate_backend(active_pid) from pg_replication_slots where slot_name = $1 and active", s.slot)
		testkit.Eventually(t, patience, func() error {
			if st := r.Status(); st.Reconnects == before || st.State != relay.Streaming {
				return fmt.Errorf("%+v", st)
			}
			return nil
		})
	}
}

func TestStandbyTakesOver(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	var a, b memory
	one := run(t, s.config(&a))
	one.become(relay.Streaming)
	two := run(t, s.config(&b))
	two.become(relay.Standby)
	if !two.Status().Ready() {
		t.Error("a standby is not ready")
	}
	s.append(t, "k", "1")
	want(t, &a, "1")
	one.stop()
	two.become(relay.Streaming)
	s.append(t, "k", "2")
	want(t, &b, "2")
}

// Functions that somebody made in public are not run with the relay's rights.
func TestFunctionsOfOthersAreNotRun(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	pgtest.PlantFunctions(t, s.pool)
	var sink memory
	r := run(t, s.config(&sink))
	s.append(t, "k", "1")
	want(t, &sink, "1")
	s.proven(t, r)
	other := s.config(&memory{})
	run(t, other).become(relay.Standby)
	r.stop()
	if n := pgtest.Planted(t, s.pool); n != 0 {
		t.Errorf("%d calls of functions of others", n)
	}
}

// A relay that lost the slot and does not know it must not store progress.
func TestZombieIsFenced(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	var sink memory
	r := run(t, s.config(&sink))
	r.become(relay.Streaming)
	sink.hold()
	s.append(t, "k", "1")
	want(t, &sink, "1")
	s.exec(t, "update gapless.relay_progress set incarnation = incarnation + 1 where slot = $1", s.slot)
	var before, after string
	const position = "select resume_lsn::text from gapless.relay_progress where slot = $1"
	if err := s.pool.QueryRow(t.Context(), position, s.slot).Scan(&before); err != nil {
		t.Fatal(err)
	}
	sink.release()
	// It lets go of the slot, finds it free, takes it again and repeats.
	want(t, &sink, "1", "1")
	testkit.Eventually(t, patience, func() error {
		if err := s.pool.QueryRow(t.Context(), position, s.slot).Scan(&after); err != nil {
			return err
		}
		if before == after {
			return errors.New("no progress after the slot was taken again")
		}
		return nil
	})
}

func TestNoSelectWhileStreaming(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	var sink memory
	cfg := s.config(&sink)
	cfg.DatabaseURL = s.db.LoginURL(t, "gapless_relay")
	r := run(t, cfg)
	testkit.Eventually(t, patience, func() error {
		if st := r.Status(); st.State != relay.Streaming {
			return fmt.Errorf("%+v", st)
		}
		return nil
	})
	// Only a start may look into the table.
	s.exec(t, "revoke select on gapless.outbox from gapless_relay")
	s.append(t, "k", "1", "2")
	want(t, &sink, "1", "2")
	s.stored(t, r, 2)
}
