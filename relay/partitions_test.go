package relay_test

import (
	"fmt"
	"testing"

	"github.com/gapless/gapless/internal/pgtest"
	"github.com/gapless/gapless/internal/testkit"
	"github.com/gapless/gapless/relay"
)

// Where only a relay runs, the outbox must not run out of partitions.
func TestKeepsPartitionsAhead(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	s.exec(t, `do $$
		declare p regclass;
		begin
			for p in select inhrelid::regclass from pg_inherits where inhparent = 'gapless.outbox'::regclass loop
				execute format('drop table %s', p);
			end loop;
		end $$`)
	var sink memory
	cfg := s.config(&sink)
	cfg.DatabaseURL = s.db.LoginURL(t, pgtest.Relay)
	r := run(t, cfg)
	testkit.Eventually(t, patience, func() error {
		var n int
		err := s.pool.QueryRow(t.Context(), "select count(*) from pg_inherits where inhparent = 'gapless.outbox'::regclass").Scan(&n)
		if err != nil || n < 15 {
			return fmt.Errorf("%d partitions, %w", n, err)
		}
		return nil
	})
	s.append(t, "k", "1")
	want(t, &sink, "1")
	s.stored(t, r, 1)
}

// A relay of somebody else's outbox, or without the right, only relays.
func TestPartitionsOfOthersAreLeftAlone(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	s.exec(t, "drop function gapless.outbox_partitions_create(int)")
	var sink memory
	r := run(t, s.config(&sink))
	s.append(t, "k", "1")
	want(t, &sink, "1")
	s.stored(t, r, 1)
	if st := r.Status(); st.State != relay.Streaming || st.Reconnects != 0 {
		t.Errorf("%+v", st)
	}
}
