package relay_test

import (
	"testing"

	"github.com/gapless/gapless/relay"
	"github.com/gapless/gapless/sql"
)

// A server that has lost what this process stored in it, on the same timeline: positions
// and ids of transactions mean others from then on.
func TestServerThatWentBackIsRefused(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ damage, what string }{
		"to an earlier record": {"update gapless.relay_progress set incarnation = incarnation - 1 where slot = $1", "has gone back"},
		"to before the record": {"with lost as (delete from gapless.outbox) delete from gapless.relay_progress where slot = $1", "is gone"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSetup(t)
			var sink memory
			r := run(t, s.config(&sink))
			s.append(t, "k", "1")
			want(t, &sink, "1")
			s.stored(t, r, 1)
			s.exec(t, c.damage, s.slot)
			s.exec(t, "select pg_terminate_backend(active_pid) from pg_replication_slots where slot_name = $1 and active_pid is not null", s.slot)
			refusal(t, r.ended(), c.what)

			// Another process cannot know.
			r = run(t, s.config(&sink))
			r.become(relay.Streaming)
		})
	}
}

// A write of progress that was given up because no answer came may be carried out after
// the one that was made instead.
func TestProgressNeverGoesBack(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	s.exec(t, "insert into gapless.relay_progress (slot, system_id, timeline, resume_lsn, incarnation) values ($1, '1', 1, '0/10', 7)", s.slot)
	partial := func(lsn string) *string { return &lsn }
	for i, c := range []struct {
		resume  string
		partial *string
		index   int64
		stored  int64
	}{
		{"0/20", nil, 0, 1},
		{"0/20", partial("0/40"), 2, 1},
		{"0/20", nil, 0, 0},
		{"0/20", partial("0/40"), 1, 0},
		{"0/20", partial("0/30"), 9, 0},
		{"0/20", partial("0/40"), 2, 1}, // the same again
		{"0/50", nil, 0, 1},
		{"0/40", partial("0/60"), 9, 0},
	} {
		tag, err := s.pool.Exec(t.Context(), sql.RelayProgressStore, s.slot, int64(7), c.resume, c.partial, c.index, "[]", "", int64(0), nil)
		if err != nil {
			t.Fatal(err)
		}
		if tag.RowsAffected() != c.stored {
			t.Errorf("write %d: %d rows, want %d", i, tag.RowsAffected(), c.stored)
		}
	}
}
