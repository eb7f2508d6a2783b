package testkit_test

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/gapless/gapless/internal/testkit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// recorder is a testing.TB that notes how the test would have ended.
type recorder struct {
	testing.TB
	fatal, log string
}

func (r *recorder) Helper() {}

func (r *recorder) Logf(format string, args ...any) { r.log = fmt.Sprintf(format, args...) }

func (r *recorder) Fatalf(format string, args ...any) {
	r.fatal = fmt.Sprintf(format, args...)
	runtime.Goexit()
}

// record runs f as a test and returns what it noted.
func record(f func(t testing.TB)) *recorder {
	r, done := &recorder{}, make(chan struct{})
	go func() {
		defer close(done)
		f(r)
	}()
	<-done
	return r
}

func TestEventuallyReturnsAtTheFirstSuccess(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		calls, begin := 0, time.Now()
		testkit.Eventually(t, time.Minute, func() error {
			if calls++; calls < 3 {
				return errors.New("not yet")
			}
			return nil
		})
		if took := time.Since(begin); calls != 3 || took > time.Second {
			t.Errorf("%d calls in %s, want 3 at once", calls, took)
		}
	})
}

func TestEventuallyFailsWithTheLastError(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		r := record(func(t testing.TB) {
			testkit.Eventually(t, time.Minute, func() error { return errors.New("still closed") })
		})
		if !strings.Contains(r.fatal, "still closed") || time.Since(begin) < time.Minute {
			t.Errorf("after %s: %q", time.Since(begin), r.fatal)
		}
	})
}

func TestEventuallyTriesOnceWithoutTime(t *testing.T) {
	t.Parallel()
	testkit.Eventually(t, -time.Second, func() error { return nil })
}

func TestSeedCanBeGivenAgain(t *testing.T) {
	t.Setenv(testkit.SeedVariable, "")
	var first int64
	r := record(func(t testing.TB) { first = testkit.Seed(t) })
	name, value, _ := strings.Cut(r.log, "=")
	t.Setenv(name, value)
	if again := testkit.Seed(t); again != first {
		t.Errorf("seed %d from %q, want %d", again, r.log, first)
	}
	t.Setenv(testkit.SeedVariable, "twelve")
	if r := record(func(t testing.TB) { testkit.Seed(t) }); !strings.Contains(r.fatal, "twelve") {
		t.Errorf("a seed that is no number: %q", r.fatal)
	}
}

func ExampleEventually() {
	var t *testing.T // the test's own
	ready := func() error { return nil }
	_ = func() { testkit.Eventually(t, 10*time.Second, ready) }
}
