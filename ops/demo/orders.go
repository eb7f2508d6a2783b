package demo

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/gapless/gapless/ops/load"
	"github.com/gapless/gapless/ops/pipeline"
	"github.com/gapless/gapless/ops/verify"
)

// placeOrders places the orders, follows them, judges, and tells. A service
// that ends meanwhile ends it.
func (st *stage) placeOrders(ctx context.Context, ended <-chan error) (*Report, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	done := make(chan struct{})
	defer close(done)
	go func() {
		select {
		case err := <-ended:
			cancel(errors.Join(errors.New("a service ended"), err))
		case <-done:
		}
	}()
	fmt.Fprintf(st.Out, "placing %d orders of every kind\n", st.Orders)
	loaded, err := load.Run(ctx, load.Config{
		BaseURL: st.apiURL, Orders: st.Orders, Rate: st.Rate, Wait: len(st.Without) == 0, Progress: st.progress(),
	})
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		return nil, fmt.Errorf("place orders: %w", err)
	}
	st.clearLine()
	report := &Report{Load: loaded}
	st.tellLoad(loaded)
	if len(st.Without) > 0 {
		return report, nil
	}
	fmt.Fprintln(st.Out, "\njudging the invariants")
	v, err := verify.Run(ctx, verify.Config{Pool: st.admin, Brokers: st.brokers, Consumers: pipeline.Judged()})
	if err != nil {
		return nil, fmt.Errorf("verify: %w", err)
	}
	report.Verify = &v
	if err := v.WriteText(st.Out); err != nil {
		return nil, err
	}
	return report, nil
}

func (st *stage) tellLoad(r *load.Report) {
	ms := func(d time.Duration) string { return d.Round(100 * time.Microsecond).String() }
	fmt.Fprintf(st.Out, "\n%d orders placed in %s (%.0f/s)\n", r.Placed, r.Took.Round(10*time.Millisecond), float64(r.Placed)/r.Took.Seconds())
	for _, end := range slices.Sorted(maps.Keys(r.Ends)) {
		fmt.Fprintf(st.Out, "  %6d  %s\n", r.Ends[end], end)
	}
	fmt.Fprintf(st.Out, "failed  %.2f %%  (%d of %d)\n", 100*float64(len(r.Failed)+len(r.Unexpected))/float64(r.Orders), len(r.Failed)+len(r.Unexpected), r.Orders)
	for _, line := range slices.Concat(r.Failed, r.Unexpected) {
		fmt.Fprintf(st.Out, "  %s\n", line)
	}
	fmt.Fprintf(st.Out, "checkout answered  p50 %s  p99 %s\n", ms(load.Quantile(r.Post, 0.5)), ms(load.Quantile(r.Post, 0.99)))
	if len(r.EndToEnd) > 0 {
		fmt.Fprintf(st.Out, "order ended        p50 %s  p99 %s\n", ms(load.Quantile(r.EndToEnd, 0.5)), ms(load.Quantile(r.EndToEnd, 0.99)))
	}
}

// progress writes one line over and over on a terminal, and a line every few
// seconds elsewhere.
func (st *stage) progress() func(load.Progress) {
	var last time.Time
	return func(p load.Progress) {
		if st.Live {
			fmt.Fprintf(st.Out, "\r\033[K%d placed, %d ended of %d", p.Placed, p.Ended, p.Orders)
			return
		}
		if time.Since(last) >= 3*time.Second {
			last = time.Now()
			fmt.Fprintf(st.Out, "%d placed, %d ended of %d\n", p.Placed, p.Ended, p.Orders)
		}
	}
}

func (st *stage) clearLine() {
	if st.Live {
		fmt.Fprint(st.Out, "\r\033[K")
	}
}
