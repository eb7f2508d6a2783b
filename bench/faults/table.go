package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/gapless/gapless/internal/kafkaserver"
)

// failures are all that is wrong with a run, a line each.
func (r *result) failures() (all []string) {
	if r.err != nil {
		all = append(all, r.err.Error())
	}
	for _, f := range r.verdict.Findings() {
		all = append(all, string(f))
	}
	if r.verdict.Parked > 0 {
		all = append(all, fmt.Sprintf("%d rows are parked, and every row was sound", r.verdict.Parked))
	}
	return all
}

// print tells of a run on a line, and of each thing that is wrong on another.
func (r *result) print(w io.Writer) {
	v, failures := &r.verdict, r.failures()
	state := "ok  "
	if len(failures) > 0 {
		state = "FAIL"
	}
	fmt.Fprintf(w, "%s %-22s seed %d  %5.1fs  %6d rows, %d repeated, first record %s, drained %s; %s\n", state, r.fault.name, r.seed, r.took.Seconds(),
		v.Rows, v.Repeated, short(r.first), short(r.drained), strings.Join(slices.Compact(r.proof), "; "))
	for i, f := range failures {
		if i == 10 {
			fmt.Fprintf(w, "     and %d more, see %s\n", len(failures)-i, r.dir)
			break
		}
		fmt.Fprintf(w, "     %s\n", f)
	}
}

// table sums the runs up.
type table struct {
	began    time.Time
	postgres int
	results  []*result
	order    []*fault
}

func (t *table) add(f *fault, r *result) {
	if len(t.order) == 0 || t.order[len(t.order)-1] != f {
		t.order = append(t.order, f)
	}
	t.results = append(t.results, r)
}

func (t *table) runs() int { return len(t.results) }

func (t *table) failed() (n int) {
	for _, r := range t.results {
		if len(r.failures()) > 0 {
			n++
		}
	}
	return n
}

// line is a fault's row of the table.
type line struct {
	runs, rows, lost, phantoms, repeated, inversions int
	first, drained                                   []time.Duration
}

func (l *line) add(r *result) {
	v := &r.verdict
	l.runs++
	l.rows += v.Rows
	l.lost += len(v.Lost)
	l.phantoms += len(v.Phantoms)
	l.repeated += v.Repeated
	l.inversions += len(v.Inversions)
	l.first = append(l.first, r.first)
	l.drained = append(l.drained, r.drained)
}

func (t *table) lines() (lines []line, total line) {
	for _, f := range t.order {
		var l line
		for _, r := range t.results {
			if r.fault == f {
				l.add(r)
				total.add(r)
			}
		}
		lines = append(lines, l)
	}
	return lines, total
}

func (t *table) print(w io.Writer) {
	_, total := t.lines()
	fmt.Fprintf(w, "%d faults, %d runs in %s, %d failed: %d rows, %d lost, %d phantom, %d repeated, %d inversions\n",
		len(t.order), t.runs(), time.Since(t.began).Round(time.Second), t.failed(), total.rows, total.lost, total.phantoms, total.repeated, total.inversions)
}

// quantile by the nearest rank: of three values the 99th is the largest.
func quantile(list []time.Duration, percent int) time.Duration {
	sorted := slices.Sorted(slices.Values(list))
	return sorted[(len(sorted)*percent+99)/100-1]
}

func short(d time.Duration) string { return fmt.Sprintf("%.2f s", d.Seconds()) }

const preamble = `# Faults

What the relay lives through. ` + "`go run ./bench/faults -out docs/faults.md`" + ` makes each fault on a real
Postgres and a real Apache Kafka under a load, heals it, waits until all is quiet,
judges the recorded history and writes this page; what a run is, and when it fails, is
in ` + "`bench/faults/doc.go`" + `.

- **rows** were committed, over a few keys, in transactions of one to five rows. A tenth of
  the transactions was rolled back on purpose.
- **lost**: committed, and neither in Kafka nor parked. **phantom**: in Kafka, and not
  committed so. **inversions**: a key's first occurrences that are not in the order of its
  aggregate versions. Each must be 0, and no row may be parked.
- **repeated**: records that came again. They are allowed when a stream began after the
  fault from a stored position that is not past them, and they were acknowledged less
  than two seconds before the fault or after it; any other fails the run.
- **first record**: from the healing (from the fault, where nobody heals it) to the first
  record of a row that had not been there. **drained**: until everything was there that
  had been committed by then. 50th and 99th percentile of the runs by the nearest rank, so
  that of three runs the 99th is the slowest.
- A run whose fault did not prove that it happened fails.

`

func (t *table) writeFile(path string) error {
	var b bytes.Buffer
	b.WriteString(preamble)
	lines, total := t.lines()
	fmt.Fprintf(&b, "PostgreSQL %d, Apache Kafka %s, %s, %d cores that clients and servers share; %d runs.\n\n",
		t.postgres, kafkaserver.KafkaVersion, runtime.Version(), runtime.NumCPU(), t.runs())
	b.WriteString("| fault | runs | rows | lost | phantom | repeated | inversions | first record p50 / p99 | drained p50 / p99 |\n")
	b.WriteString("| --- | --- | --- | --- | --- | --- | --- | --- | --- |\n")
	row := func(name string, l *line, recovery bool) {
		fmt.Fprintf(&b, "| %s | %d | %d | %d | %d | %d | %d | ", name, l.runs, l.rows, l.lost, l.phantoms, l.repeated, l.inversions)
		if recovery {
			fmt.Fprintf(&b, "%s / %s | %s / %s |\n", short(quantile(l.first, 50)), short(quantile(l.first, 99)), short(quantile(l.drained, 50)), short(quantile(l.drained, 99)))
		} else {
			b.WriteString(" | |\n")
		}
	}
	for i, f := range t.order {
		row(fmt.Sprintf("`%s`: %s", f.name, f.what), &lines[i], true)
	}
	row("all", &total, false)
	if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil { //nolint:gosec // documentation
		return fmt.Errorf("write the table: %w", err)
	}
	return nil
}
