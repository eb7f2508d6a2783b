package relay_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/gapless/gapless/internal/testkit"
	"github.com/gapless/gapless/relay"
	"github.com/gapless/gapless/sql"
)

func (s *setup) pause(t *testing.T, paused bool) {
	t.Helper()
	if s.kafka != nil {
		s.pauseInKafka(t, paused)
		return
	}
	var changed int
	if err := s.pool.QueryRow(t.Context(), sql.RelayPause, s.slot, paused, "for the test").Scan(&changed); err != nil || changed != 1 {
		t.Fatalf("pause: %d changed, %v", changed, err)
	}
}

// A paused relay sends nothing, outlives the server's timeout, and stays paused
// through a restart, until it is told to go on.
func TestPause(t *testing.T) {
	t.Parallel()
	s, _ := ownServer(t, map[string]string{"wal_sender_timeout": "1s"})
	var sink memory
	r := run(t, s.config(&sink))
	s.append(t, "k", "1")
	want(t, &sink, "1")
	s.stored(t, r, 1)
	s.pause(t, true)
	r.become(relay.Paused)
	if got := r.Status(); !got.Ready() || got.Reason != "postgres: for the test" {
		t.Errorf("status %+v", got)
	}
	s.append(t, "k", "2")
	walsender := func() (pid int) {
		if err := s.pool.QueryRow(t.Context(), "select coalesce(max(active_pid), 0) from pg_replication_slots where slot_name = $1", s.slot).Scan(&pid); err != nil {
			t.Fatal(err)
		}
		return pid
	}
	pid := walsender()
	testkit.Eventually(t, patience, func() error {
		var long bool
		err := s.pool.QueryRow(t.Context(), "select clock_timestamp() - backend_start > interval '4 s' from pg_stat_replication where pid = $1", pid).Scan(&long)
		if err == nil && !long {
			err = errors.New("the stream is not older than the server's timeout yet")
		}
		return err
	})
	r.stop()
	again := run(t, s.config(&sink))
	again.become(relay.Paused)
	if got := sink.values(); len(got) != 1 {
		t.Errorf("sent %q while paused", got)
	}
	s.pause(t, false)
	want(t, &sink, "1", "2")
	again.become(relay.Streaming)
	s.stored(t, again, 1)
	var notes string
	if err := s.pool.QueryRow(t.Context(), "select string_agg(action || ' ' || target || ' ' || reason, ', ' order by audit_id) from gapless.audit").Scan(&notes); err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf("relay pause slot %s for the test, relay resume slot %[1]s for the test", s.slot); notes != want {
		t.Errorf("audit %q, want %q", notes, want)
	}
}
