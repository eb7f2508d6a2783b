package verify

import (
	"fmt"
	"io"
	"time"

	"github.com/gapless/gapless/internal/terminal"
)

// Report is the judgement of a run.
type Report struct {
	StartedAt  time.Time     `json:"started_at"`
	Took       time.Duration `json:"took_ns"`
	Cut        Cut           `json:"cut"`
	Invariants []Invariant   `json:"invariants"`
	// Incomplete says, a line each, what could not be judged, why, and what to do:
	// empty is best.
	Incomplete []string `json:"incomplete,omitempty"`
	// Absent says what is not judged because it is not in this database, or was
	// not asked for.
	Absent []string `json:"absent,omitempty"`
}

// Cut is where the world was cut for the loss check.
type Cut struct {
	LSN     string `json:"lsn"`     // all rows of the snapshot were committed before
	Relay   string `json:"relay"`   // how far the relay was when Kafka was read
	Rows    int64  `json:"rows"`    // of the outbox in the snapshot
	Records int64  `json:"records"` // of the event topics, repeats included
	Repeats int64  `json:"repeats"` // records whose event came before
}

// Invariant is one of the seven, with the sums of its checks.
type Invariant struct {
	Number int    `json:"number"`
	Name   string `json:"name"`
	Counts
	Verdict Verdict `json:"verdict"`
	Checks  []Check `json:"checks"`
}

// Verdict on an invariant.
type Verdict string

// The verdicts.
const (
	Holds     Verdict = "holds" // what was judged, and nothing that had to be was not
	Broken    Verdict = "broken"
	NotJudged Verdict = "not judged" // in part at least: Report.Incomplete says why
	NotHere   Verdict = "not here"   // the tables that it speaks of
	TooYoung  Verdict = "too young"  // all that there is: ask again in a moment
)

// Check is one way to look at an invariant.
type Check struct {
	Name string `json:"name"`
	Counts
	Examples []Example `json:"examples,omitempty"`
}

// Counts of a check; see the package comment for what they mean.
type Counts struct {
	Judged   int64 `json:"judged"`
	TooYoung int64 `json:"too_young"`
	Parked   int64 `json:"parked"`
	Expired  int64 `json:"expired"`
	Broken   int64 `json:"broken"`
}

// Example is one breach.
type Example struct {
	ID     string `json:"id"`
	Detail string `json:"detail"`
}

// Broken tells whether any invariant is broken.
func (r *Report) Broken() bool {
	for i := range r.Invariants {
		if r.Invariants[i].Broken > 0 {
			return true
		}
	}
	return false
}

// Holds tells whether nothing is broken, and nothing was left out that had to be
// judged. What is merely too young is under way, and no fault.
func (r *Report) Holds() bool { return !r.Broken() && len(r.Incomplete) == 0 }

// tooYoung sums up what was.
func (r *Report) tooYoung() (n int64) {
	for i := range r.Invariants {
		n += r.Invariants[i].TooYoung
	}
	return n
}

// conclude gives each invariant its verdict.
func (r *Report) conclude() {
	for i := range r.Invariants {
		switch v := &r.Invariants[i]; {
		case v.Broken > 0:
			v.Verdict = Broken
		case v.Verdict == NotJudged:
		case len(v.Checks) == 0:
			v.Verdict = NotHere
		case v.Judged == 0 && v.TooYoung > 0:
			v.Verdict = TooYoung
		default:
			v.Verdict = Holds
		}
	}
}

// WriteText writes the report as a table, each breach below its invariant.
func (r *Report) WriteText(w io.Writer) error {
	fmt.Fprintf(w, "%-17s %10s %10s %10s %10s %10s  %s\n", "INVARIANT", "JUDGED", "TOO YOUNG", "PARKED", "EXPIRED", "BROKEN", "VERDICT")
	for i := range r.Invariants {
		v := &r.Invariants[i]
		fmt.Fprintf(w, "%d %-15s %10d %10d %10d %10d %10d  %s\n", v.Number, v.Name, v.Judged, v.TooYoung, v.Parked, v.Expired, v.Broken, v.Verdict)
	}
	for i := range r.Invariants {
		for _, c := range r.Invariants[i].Checks {
			if c.Broken == 0 {
				continue
			}
			fmt.Fprintf(w, "\n%d %s: %s: %d broken\n", r.Invariants[i].Number, r.Invariants[i].Name, c.Name, c.Broken)
			for _, e := range c.Examples {
				fmt.Fprintf(w, "  %s: %s\n", terminal.Line(e.ID), terminal.Line(e.Detail))
			}
			if more := c.Broken - int64(len(c.Examples)); more > 0 {
				fmt.Fprintf(w, "  and %d more\n", more)
			}
		}
	}
	fmt.Fprintln(w)
	for _, why := range r.Absent {
		fmt.Fprintf(w, "not here: %s\n", why)
	}
	verdict := "every invariant holds"
	switch {
	case r.Broken():
		verdict = "broken"
	case len(r.Incomplete) > 0:
		verdict = "not every invariant was judged"
	case r.tooYoung() > 0:
		verdict = fmt.Sprintf("what is old enough holds, %d too young to be judged", r.tooYoung())
	case len(r.Absent) > 0:
		verdict = "every invariant that is here holds"
	}
	_, err := fmt.Fprintf(w, "%s: %d rows, %d records (%d repeats), cut at %s, %s\n",
		verdict, r.Cut.Rows, r.Cut.Records, r.Cut.Repeats, r.Cut.LSN, r.Took.Round(time.Millisecond))
	for _, why := range r.Incomplete { // last, for it says what to do
		_, err = fmt.Fprintf(w, "not judged: %s\n", why)
	}
	if err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	return nil
}

// invariants in their order; add files checks under them.
func newInvariants() []Invariant {
	names := []string{"no loss", "no phantom", "effect once", "order", "conservation", "termination", "read models"}
	list := make([]Invariant, len(names))
	for i, name := range names {
		list[i] = Invariant{Number: i + 1, Name: name, Checks: []Check{}}
	}
	return list
}

func (r *Report) add(number int, c Check) {
	v := &r.Invariants[number-1]
	v.Checks = append(v.Checks, c)
	v.Judged += c.Judged
	v.TooYoung += c.TooYoung
	v.Parked += c.Parked
	v.Expired += c.Expired
	v.Broken += c.Broken
}

// breach counts one and keeps it as an example while there is room.
func (c *Check) breach(limit int, id, format string, args ...any) {
	c.Judged++
	c.Broken++
	if len(c.Examples) < limit {
		c.Examples = append(c.Examples, Example{ID: id, Detail: fmt.Sprintf(format, args...)})
	}
}
