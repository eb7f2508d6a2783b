package relay_test

import (
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/gapless/gapless/internal/testkit"
)

type gatherer struct {
	memory
	on  atomic.Bool
	ons atomic.Int32
}

func (g *gatherer) Gather(on bool) {
	g.on.Store(on)
	if on {
		g.ons.Add(1)
	}
}

// TestLateStreamGathers: records may wait for company while the stream is late, but not
// while nothing more can come, and not when it has caught up.
func TestLateStreamGathers(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	s.append(t, "k", "late")
	s.exec(t, "insert into gapless.outbox (aggregatetype, aggregateid, type) select 'order', 'k', 'T' from generate_series(1, 100)")
	s.exec(t, "select pg_sleep(1.1)") // a second is late
	var sink gatherer
	sink.hold()
	cfg := s.config(&sink)
	cfg.MaxRecords = 10
	run(t, cfg)
	testkit.Eventually(t, patience, func() error {
		if got := len(sink.values()); got != 10 {
			return fmt.Errorf("%d records", got)
		}
		return nil
	})
	sink.ackFirst(10) // what comes next comes in a stream that is known to be late
	testkit.Eventually(t, patience, func() error {
		if got := len(sink.values()); got != 20 || sink.ons.Load() == 0 || sink.on.Load() {
			return fmt.Errorf("%d records, gathered %d times, gathers %t", got, sink.ons.Load(), sink.on.Load())
		}
		return nil
	})
	sink.release()
	testkit.Eventually(t, patience, func() error {
		if got := len(sink.values()); got != 101 {
			return fmt.Errorf("%d records", got)
		}
		return nil
	})
	testkit.Eventually(t, patience, func() error {
		s.append(t, "k", "in time") // on a busy machine one may come late
		if sink.on.Load() {
			return fmt.Errorf("gathers after %d records", len(sink.values()))
		}
		return nil
	})
}
