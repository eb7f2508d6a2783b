package relay

import (
	"testing"
	"testing/synctest"
	"time"
)

// paced plays rounds of n records each, each of which takes trip, the first no sooner than
// every has passed since the one before; it returns when each began.
func paced(s *spacing, rounds, n int, trip, every time.Duration) (began []time.Duration) {
	start := time.Now()
	for i := range rounds {
		time.Sleep(time.Until(start.Add(time.Duration(i) * every)))
		time.Sleep(s.wait(time.Now(), n, false))
		s.begin(time.Now())
		began = append(began, time.Since(start))
		time.Sleep(trip)
		s.took(trip)
	}
	return began
}

func TestSmallRoundsKeepApart(t *testing.T) {
	t.Parallel()
	const rounds = 1000
	for name, c := range map[string]struct {
		n           int
		trip, every time.Duration
		want        time.Duration // between two rounds, on average
	}{
		"three trips":       {1, 500 * time.Microsecond, 0, 1500 * time.Microsecond},
		"slower than that":  {1, 500 * time.Microsecond, 1600 * time.Microsecond, 1600 * time.Microsecond},
		"a slow broker":     {1, 2 * time.Millisecond, 0, 3 * time.Millisecond},
		"a broker far away": {1, 20 * time.Millisecond, 0, 20 * time.Millisecond},
		"large rounds":      {largeRound, 500 * time.Microsecond, 0, 500 * time.Microsecond},
		"nearly as large":   {largeRound - 1, 500 * time.Microsecond, 0, 1500 * time.Microsecond},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var s spacing
				paced(&s, 100, c.n, c.trip, c.every) // it has to learn how long they take
				began := paced(&s, rounds, c.n, c.trip, c.every)
				if got := (began[rounds-1] - began[0]) / (rounds - 1); got < c.want*99/100 || got > c.want*101/100 {
					t.Errorf("rounds begin %s apart, not %s", got, c.want)
				}
			})
		})
	}
}

// A stream slower than the rounds never waits, however its events are bunched, as long as
// no more come at once than a quiet stretch has saved up for.
func TestSlowStreamDoesNotWait(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const trip = 500 * time.Microsecond
		var s spacing
		paced(&s, 100, 1, trip, 0)
		for range 1000 {
			time.Sleep(6 * time.Millisecond)
			for i := range 3 {
				if wait := s.wait(time.Now(), 1, false); wait > 0 {
					t.Fatalf("round %d of three waits %s", i+1, wait)
				}
				s.begin(time.Now())
				time.Sleep(trip)
				s.took(trip)
			}
		}
	})
}

// However long it was quiet, what has been saved up is little.
func TestLittleIsSavedUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const trip = 100 * time.Microsecond
		var s spacing
		paced(&s, 100, 1, trip, 0)
		time.Sleep(time.Hour)
		began := paced(&s, 1000, 1, trip, 0)
		if got, least := began[999], 1000*tripsApart*trip-2*mostApart; got < least {
			t.Errorf("a thousand rounds began within %s, not within %s", got, least)
		}
	})
}

// A backlog's rounds are large and follow each other at once; the first small round behind
// them owes nothing for that.
func TestLargeRoundsPutNothingOff(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var s spacing
		paced(&s, 10_000, largeRound, time.Millisecond, 0)
		if wait := s.wait(time.Now(), 1, false); wait > mostApart {
			t.Errorf("the next small round waits %s", wait)
		}
	})
}

// A round of a late stream waits for company, until there is enough of it or it has waited
// long enough, and for none as soon as nothing can come.
func TestLateRoundsGather(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var s spacing
		if wait := s.wait(time.Now(), 1, true); wait != 0 {
			t.Errorf("the first round waits %s", wait)
		}
		s.begin(time.Now())
		for _, n := range []int{1, largeRound, gatherRound - 1} {
			if wait := s.wait(time.Now(), n, true); wait != gatherLook {
				t.Errorf("a round of %d waits %s, want to look again after %s", n, wait, gatherLook)
			}
		}
		for _, c := range []struct {
			n       int
			gathers bool
		}{{gatherRound, true}, {largeRound, false}} {
			if wait := s.wait(time.Now(), c.n, c.gathers); wait != 0 {
				t.Errorf("a round of %d, gathering %t, waits %s", c.n, c.gathers, wait)
			}
		}
		began := time.Now()
		for {
			wait := s.wait(time.Now(), largeRound, true)
			if wait == 0 {
				break
			}
			time.Sleep(wait)
		}
		if waited := time.Since(began); waited != gatherApart {
			t.Errorf("waited %s, want %s", waited, gatherApart)
		}
	})
}
