package relay

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// A database that does not answer must not hold up the stop for longer than
// the grace.
func TestWorkerStopIsBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var w worker
		w.start(context.WithoutCancel(t.Context()))
		w.do(kindLook, func(ctx context.Context) { <-ctx.Done() })
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		began := time.Now()
		w.stop(ctx, 3*time.Second)
		if took := time.Since(began); took != 3*time.Second {
			t.Errorf("stop took %s", took)
		}
	})
}
