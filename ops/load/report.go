package load

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"
)

// Report of a run, as a customer saw it.
type Report struct {
	Orders int            `json:"orders"`
	Placed int            `json:"placed"`
	Ends   map[string]int `json:"ends"`
	// Kinds counts the scenarios that came to each end.
	Kinds      map[string]map[string]int `json:"kinds"`
	Unexpected []string                  `json:"unexpected,omitempty"`
	Failed     []string                  `json:"failed,omitempty"`
	// Tries is requests that brought no final answer and were made again.
	Tries int64 `json:"tries_without_answer"`
	// PlacedIn is how long the placing took, Took the whole, ends included where
	// Followed says that they were waited for.
	PlacedIn time.Duration `json:"placed_in"`
	Took     time.Duration `json:"took"`
	Followed bool          `json:"followed"`
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
	round := func(d time.Duration) string { return d.Round(10 * time.Millisecond).String() }
	fmt.Fprintf(w, "\n%d orders placed in %s (%.0f/s)", r.Placed, round(r.PlacedIn), float64(r.Placed)/r.PlacedIn.Seconds())
	if r.Followed {
		fmt.Fprintf(w, ", followed to their ends in %s", round(r.Took))
	}
	fmt.Fprintln(w)
	for _, end := range slices.Sorted(maps.Keys(r.Ends)) {
		fmt.Fprintf(w, "  %6d  %s%s\n", r.Ends[end], end, kinds(r.Kinds[end]))
	}
	failed, what := len(r.Failed)+len(r.Unexpected), "failed"
	if !r.Followed {
		what = "not placed" // of the ends nothing is known
	}
	fmt.Fprintf(w, "%s  %.2f %%  (%d of %d)\n", what, 100*float64(failed)/float64(r.Orders), failed, r.Orders)
	for _, line := range slices.Concat(r.Failed, r.Unexpected) {
		fmt.Fprintf(w, "  %s\n", line)
	}
	if r.Tries > 0 {
		fmt.Fprintf(w, "%d requests had no final answer and were made again with the same key\n", r.Tries)
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

// kinds tells which scenarios came to an end, where it is not one alone.
func kinds(counts map[string]int) string {
	if len(counts) < 2 {
		return ""
	}
	names := slices.SortedFunc(maps.Keys(counts), func(a, b string) int {
		return cmp.Or(cmp.Compare(counts[b], counts[a]), cmp.Compare(a, b))
	})
	for i, name := range names {
		names[i] = fmt.Sprintf("%d %s", counts[name], name)
	}
	return ": " + strings.Join(names, ", ")
}
