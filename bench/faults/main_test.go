package main

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/gapless/gapless/bench/faults/check"
)

func TestFaultsHaveNames(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, f := range faults() {
		if f.name == "" || f.what == "" || f.make == nil || seen[f.name] {
			t.Errorf("fault %+v", f)
		}
		seen[f.name] = true
	}
	if len(seen) < 25 {
		t.Errorf("%d faults", len(seen))
	}
}

// What a COMMIT's error says of the transaction. Taking unknown for fail would make
// phantoms, taking it for ok would make losses.
func TestOutcomeOfCommit(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		err  error
		want check.Outcome
	}{
		{nil, check.OK},
		{pgx.ErrTxCommitRollback, check.Fail},
		{&pgconn.PgError{Code: "40001"}, check.Fail},
		{&pgconn.PgError{Code: "57P01"}, check.Unknown},
		{&pgconn.PgError{Code: "57P02"}, check.Unknown},
		{io.ErrUnexpectedEOF, check.Unknown},
		{errors.New("timeout"), check.Unknown},
	} {
		if got := outcome(c.err); got != c.want {
			t.Errorf("%v: %s, want %s", c.err, got, c.want)
		}
	}
}

func TestParse(t *testing.T) {
	t.Parallel()
	k := &kgo.Record{Topic: "t", Partition: 2, Offset: 9, Key: []byte("k"), Timestamp: time.UnixMilli(5), Headers: []kgo.RecordHeader{
		{Key: "ce_id", Value: []byte("id")}, {Key: "ce_sequence", Value: []byte("7")}, {Key: "gapless_position", Value: []byte("3/1/AB/12")},
	}}
	want := check.Record{Topic: "t", Partition: 2, Offset: 9, Appended: time.UnixMilli(5), ID: "id", Key: "k", Version: 7, Commit: 1<<32 + 0xab, Index: 12}
	if got, err := parse(k); err != nil || got != want {
		t.Errorf("%+v, %v, want %+v", got, err, want)
	}
	for name, value := range map[string]string{"ce_sequence": "x", "gapless_position": "1/2"} {
		k.Headers = []kgo.RecordHeader{{Key: name, Value: []byte(value)}}
		if got, err := parse(k); err == nil {
			t.Errorf("%s %q: %+v", name, value, got)
		}
	}
}

func TestQuantile(t *testing.T) {
	t.Parallel()
	list := []time.Duration{3, 1, 2}
	if p50, p99 := quantile(list, 50), quantile(list, 99); p50 != 2 || p99 != 3 {
		t.Errorf("p50 %d, p99 %d, want 2 and 3", p50, p99)
	}
	if only := quantile(list[:1], 50); only != 3 {
		t.Errorf("of one value %d", only)
	}
}

// A run fails by anything that is found, by a row that is parked and by its own error.
func TestWhatFailsARun(t *testing.T) {
	t.Parallel()
	one := []check.Finding{"found"}
	for name, r := range map[string]result{
		"lost":      {verdict: check.Verdict{Lost: one}},
		"phantom":   {verdict: check.Verdict{Phantoms: one}},
		"inversion": {verdict: check.Verdict{Inversions: one}},
		"repeat":    {verdict: check.Verdict{Repeats: one}},
		"vanished":  {verdict: check.Verdict{Vanished: one}},
		"parked":    {verdict: check.Verdict{Parked: 1}},
		"error":     {err: io.EOF},
	} {
		if got := r.failures(); len(got) != 1 {
			t.Errorf("%s: %q", name, got)
		}
	}
	if got := (&result{verdict: check.Verdict{Rows: 5, Records: 6, Repeated: 1}}).failures(); len(got) != 0 {
		t.Errorf("an allowed repeat: %q", got)
	}
}

func TestTableIsWritten(t *testing.T) {
	t.Parallel()
	f := &fault{name: "kill", what: "kill -9"}
	table := &table{postgres: 15}
	table.add(f, &result{fault: f, verdict: check.Verdict{Rows: 10, Repeated: 2}, first: time.Second, drained: 2 * time.Second})
	table.add(f, &result{fault: f, verdict: check.Verdict{Rows: 5}, first: 3 * time.Second, drained: 4 * time.Second})
	path := filepath.Join(t.TempDir(), "faults.md")
	if err := table.writeFile(path); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"| `kill`: kill -9 | 2 | 15 | 0 | 0 | 2 | 0 | 1.00 s / 3.00 s | 2.00 s / 4.00 s |",
		"| all | 2 | 15 | 0 | 0 | 2 | 0 |",
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
}
