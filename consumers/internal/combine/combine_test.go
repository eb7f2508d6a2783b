package combine_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/gapless/gapless/consumers/internal/combine"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Calls that come during a trip share the next, up to the most; everybody gets
// the answer to what they asked.
func TestCallsShareTrips(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var sizes []int
		c := combine.New(1, 4, func(_ context.Context, requests []int) []combine.Answer[int] {
			sizes = append(sizes, len(requests))
			time.Sleep(time.Second)
			answers := make([]combine.Answer[int], len(requests))
			for i, r := range requests {
				answers[i].Value = r * r
				if r == 5 {
					answers[i].Err = errors.New("five")
				}
			}
			return answers
		})
		var wg sync.WaitGroup
		for i := range 10 {
			wg.Go(func() {
				got, err := c.Do(t.Context(), i)
				if got != i*i || (err != nil) != (i == 5) {
					t.Errorf("answer to %d: %d, %v", i, got, err)
				}
			})
			synctest.Wait() // the first is on its way before the others come
		}
		wg.Wait()
		if len(sizes) != 4 || sizes[0] != 1 || sizes[1] != 4 || sizes[2] != 4 || sizes[3] != 1 {
			t.Errorf("trips of %v requests, want [1 4 4 1]", sizes)
		}
	})
}

// A caller that gives up leaves the others' trip alone; when the last one has
// given up the trip is cut off.
func TestTripEndsWithItsLastCaller(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var cutOff time.Duration
		start := time.Now()
		c := combine.New(1, 4, func(ctx context.Context, requests []int) []combine.Answer[int] {
			<-ctx.Done()
			cutOff = time.Since(start)
			return make([]combine.Answer[int], len(requests))
		})
		var wg sync.WaitGroup
		wg.Go(func() { // a trip of one, so that the others share the next
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			if _, err := c.Do(ctx, 0); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("got %v", err)
			}
		})
		synctest.Wait()
		for i := range 3 {
			wg.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i+2)*time.Second)
				defer cancel()
				if _, err := c.Do(ctx, i); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("got %v", err)
				}
			})
		}
		wg.Wait()
		synctest.Wait()
		if cutOff != 4*time.Second {
			t.Errorf("the shared trip was cut off after %s, want 4 s: with its last caller", cutOff)
		}
	})
}
