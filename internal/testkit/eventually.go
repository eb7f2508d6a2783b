package testkit

import (
	"testing"
	"time"
)

// interval is short enough not to be seen in a test's time and long enough that
// a condition which asks a database does not keep a core busy.
const interval = 5 * time.Millisecond

// Eventually calls cond until it returns nil, and fails the test with cond's last
// error when it has not within deadline. cond runs on the test's goroutine, so it
// may call t.Fatal; a cond that blocks is the caller's to bound, by t.Context or
// otherwise.
func Eventually(t testing.TB, deadline time.Duration, cond func() error) {
	t.Helper()
	end := time.Now().Add(deadline)
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		err := cond()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("not within %s: %v", deadline, err)
		}
		<-tick.C
	}
}
