package load

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"time"
)

// Report of a run, as a customer saw it.
type Report struct {
	Orders     int            `json:"orders"`
	Placed     int            `json:"placed"`
	Ends       map[string]int `json:"ends"`
	Unexpected []string       `json:"unexpected,omitempty"`
	Failed     []string       `json:"failed,omitempty"`
	Tries      int64          `json:"tries_without_answer"`
	Took       time.Duration  `json:"took"`
	// Latency of the POST that brought the final answer, sorted.
	Post []time.Duration `json:"-"`
	// From the POST to the order's end, sorted.
	EndToEnd []time.Duration `json:"-"`
	// IDs of the orders placed.
	IDs []string `json:"-"`
}

// OK tells whether every order was placed and, where that was waited for, ended
// as its kind must.
func (r *Report) OK() bool { return len(r.Failed) == 0 && len(r.Unexpected) == 0 }

// Quantile of a sorted list, 0 for an empty one.
func Quantile(sorted []time.Duration, q float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(int(q*float64(len(sorted))), len(sorted)-1)]
}

// WriteText writes counts by end, failures, and latencies.
func (r *Report) WriteText(w io.Writer) error {
	ms := func(d time.Duration) string { return d.Round(100 * time.Microsecond).String() }
	fmt.Fprintf(w, "\n%d orders placed in %s (%.0f/s)\n", r.Placed, r.Took.Round(10*time.Millisecond), float64(r.Placed)/r.Took.Seconds())
	for _, end := range slices.Sorted(maps.Keys(r.Ends)) {
		fmt.Fprintf(w, "  %6d  %s\n", r.Ends[end], end)
	}
	failed := len(r.Failed) + len(r.Unexpected)
	fmt.Fprintf(w, "failed  %.2f %%  (%d of %d)\n", 100*float64(failed)/float64(r.Orders), failed, r.Orders)
	for _, line := range slices.Concat(r.Failed, r.Unexpected) {
		fmt.Fprintf(w, "  %s\n", line)
	}
	_, err := fmt.Fprintf(w, "checkout answered  p50 %s  p99 %s\n", ms(Quantile(r.Post, 0.5)), ms(Quantile(r.Post, 0.99)))
	if len(r.EndToEnd) > 0 {
		_, err = fmt.Fprintf(w, "order ended        p50 %s  p99 %s\n", ms(Quantile(r.EndToEnd, 0.5)), ms(Quantile(r.EndToEnd, 0.99)))
	}
	if err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	return nil
}
