package relay

import "time"

const (
	// tripsApart is how many round trips lie between the beginnings of small rounds.
	tripsApart = 3
	// mostApart bounds that, and what a quiet stretch saves up.
	mostApart = 3 * time.Millisecond
	// largeRound is a round that is worth its cost.
	largeRound = 64
	// mostRound bounds what one request, and the client's memory for it, grows to.
	mostRound = 2048

	// While the stream is late, a round begins when there are gatherRound records or
	// gatherBytes, or gatherApart after the one before. Both are less than half of what is
	// in flight by default, so that the next ones come in meanwhile. gatherLook is how often
	// that is looked at.
	gatherApart = 25 * time.Millisecond
	gatherRound = 1600
	gatherBytes = 2 << 20
	gatherLook  = 2 * time.Millisecond
)

// spacing keeps small rounds apart when they come too fast.
//
// A round costs broker, relay and consumers about the same whether it holds one record or
// fifty: a request, the answer to it, and a fetch. When thousands of small transactions
// come in a second, rounds that follow each other at once take the processors that
// Postgres wants for the commits, and the late events become later still. How long a round
// takes tells how busy the broker is, so rounds are tripsApart of their own times apart.
// What comes slower than that does not wait: the time that was not used is saved up. Nor
// does a large round, unless the stream is late: there nobody notices a few milliseconds
// more, and a round of 600 is 32 small batches, one for each of 32 partitions. Larger rounds
// took the broker from 2.9 µs a record to 1.8, and the relay from 3.9 to 3.5 (1,000,000 rows
// in transactions of 100).
//
// The clock is the caller's.
type spacing struct {
	due   time.Time     // when the next round may begin
	begun time.Time     // the round before
	trip  time.Duration // of the rounds before, averaged
}

// wait is how long a round of n records waits at now; then it is asked again. With gathers
// the stream is late, and more can come.
func (s *spacing) wait(now time.Time, n int, gathers bool) time.Duration {
	if left := gatherApart - now.Sub(s.begun); gathers && n < gatherRound && left > 0 {
		return min(left, gatherLook)
	}
	if n >= largeRound {
		return 0
	}
	return max(0, s.due.Sub(now))
}

// begin says that a round begins at now.
func (s *spacing) begin(now time.Time) {
	s.begun = now
	if saved := now.Add(-mostApart); s.due.Before(saved) {
		s.due = saved
	}
	s.due = s.due.Add(min(mostApart, tripsApart*s.trip))
	if latest := now.Add(mostApart); s.due.After(latest) {
		s.due = latest // large rounds do not wait for what they add
	}
}

// took says how long a round took.
func (s *spacing) took(d time.Duration) { s.trip += (d - s.trip) / 16 }
