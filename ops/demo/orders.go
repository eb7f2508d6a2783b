package demo

import (
	"context"
	"errors"
	"fmt"
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
	if err := loaded.WriteText(st.Out); err != nil {
		return nil, err
	}
	if len(st.Without) > 0 {
		return report, nil
	}
	fmt.Fprintln(st.Out, "\njudging the invariants")
	if report.Verify, err = st.judge(ctx); err != nil {
		return nil, fmt.Errorf("verify: %w", err)
	}
	return report, report.Verify.WriteText(st.Out)
}

// judge runs verify until nothing is too young any more. Every order has ended,
// but groups commit their offsets a moment after the effect.
func (st *stage) judge(ctx context.Context) (*verify.Report, error) {
	for deadline := time.Now().Add(20 * time.Second); ; {
		v, err := verify.Run(ctx, verify.Config{Pool: st.admin, Brokers: st.brokers, Consumers: pipeline.Judged(), Young: -1})
		if err != nil || v.Broken() || settled(&v) || time.Now().After(deadline) {
			return &v, err
		}
		timer := time.NewTimer(300 * time.Millisecond)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil, ctx.Err()
		case <-timer.C:
		}
	}
}

// settled tells that everything could be judged.
func settled(v *verify.Report) bool {
	return len(v.Incomplete) == 0 && len(v.Absent) == 0 && !slices.ContainsFunc(v.Invariants, func(i verify.Invariant) bool { return i.TooYoung > 0 })
}

// progress writes one line over and over on a terminal, and a line every few
// seconds elsewhere.
func (st *stage) progress() func(load.Progress) {
	var last time.Time
	return func(p load.Progress) {
		if st.Live {
			fmt.Fprintf(st.Out, "\r\033[K%d of %d placed, %d seen to end", p.Placed, p.Orders, p.Ended)
			return
		}
		if time.Since(last) >= 3*time.Second {
			last = time.Now()
			fmt.Fprintf(st.Out, "%d of %d placed, %d seen to end\n", p.Placed, p.Orders, p.Ended)
		}
	}
}

func (st *stage) clearLine() {
	if st.Live {
		fmt.Fprint(st.Out, "\r\033[K")
	}
}
