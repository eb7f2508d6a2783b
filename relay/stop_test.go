package relay_test

import (
	"errors"
	"fmt"
	"net/url"
	"testing"
	"time"

	"github.com/gapless/gapless/internal/testkit"
	"github.com/gapless/gapless/internal/wire"
)

// A server that has vanished without a word does not hold up the end: whoever asked
// for it has ten seconds in most places, and then kills.
func TestStopsWithoutTheServer(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	target, err := url.Parse(s.db.URL)
	if err != nil {
		t.Fatal(err)
	}
	proxy, err := wire.Listen(t.Context(), wire.Config{Target: target.Host})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := proxy.Close(); err != nil {
			t.Error(err)
		}
	})
	target.Host = proxy.Addr()
	var sink memory
	cfg := s.config(&sink)
	cfg.DatabaseURL, cfg.StopTimeout = target.String(), time.Second
	r := run(t, cfg)
	s.append(t, "k", "1")
	want(t, &sink, "1")
	s.stored(t, r, 1)

	// Progress is on its way when the server has gone.
	sink.hold()
	s.append(t, "k", "2")
	want(t, &sink, "1", "2")
	if err := proxy.BlackHole(); err != nil && !errors.Is(err, errors.ErrUnsupported) {
		t.Fatal(err) // where only root may make a socket deaf the proxy still lets nothing through
	}
	sink.release()
	testkit.Eventually(t, patience, func() error {
		if st := r.Status(); st.InFlight != 0 {
			return fmt.Errorf("%d in flight", st.InFlight)
		}
		if c := proxy.Counts(); c.Dropped+c.Held == 0 {
			return fmt.Errorf("nothing was lost: %+v", c)
		}
		return nil
	})
	began := time.Now()
	r.stop()
	if took := time.Since(began); took > 4*time.Second {
		t.Errorf("the end took %s with a StopTimeout of 1s", took)
	}
	if err := proxy.Heal(); err != nil {
		t.Fatal(err)
	}
}
