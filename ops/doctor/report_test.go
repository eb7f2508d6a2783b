package doctor_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/gapless/gapless/ops/doctor"
)

func TestReportIsReadable(t *testing.T) {
	t.Parallel()
	r := doctor.Report{
		Took: 1500 * time.Microsecond, OK: 2, Warnings: 1, Faults: 1, NotJudged: 2,
		Checks: []doctor.Finding{
			{ID: "postgres", Outcome: doctor.OK, Found: "Postgres 17"},
			{ID: "wal-limit", Outcome: doctor.Warning, Found: "no limit", Fix: "set one"},
			{ID: "slot", Outcome: doctor.Fault, Found: "gone", Fix: "gapless relay"},
			{ID: "primary", Outcome: doctor.OK, Found: "a primary"},
			{ID: "brokers", Outcome: doctor.NotJudged, Found: "--brokers is not set"},
			{ID: "topics", Outcome: doctor.NotJudged, Found: "--brokers is not set"},
		},
	}
	var b bytes.Buffer
	if err := r.WriteText(&b, false); err != nil {
		t.Fatal(err)
	}
	const want = `fault       slot                    gone
                                    fix: gapless relay
warning     wal-limit               no limit
                                    fix: set one
not judged  --brokers is not set: brokers, topics
ok          postgres, primary
something is broken: 2 ok, 1 warning, 1 fault, 2 not judged, in 2ms
`
	if b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", &b, want)
	}
	b.Reset()
	if err := r.WriteText(&b, true); err != nil {
		t.Fatal(err)
	}
	for _, f := range r.Checks {
		if !strings.Contains(b.String(), f.ID) || !strings.Contains(b.String(), f.Found) {
			t.Errorf("%s is not in\n%s", f.ID, &b)
		}
	}
}

func TestVerdicts(t *testing.T) {
	t.Parallel()
	for want, r := range map[string]doctor.Report{
		"all well":                     {OK: 3},
		"what could be judged is well": {OK: 3, NotJudged: 1},
		"nothing could be judged":      {NotJudged: 1},
		"works, with warnings":         {OK: 3, Warnings: 1, NotJudged: 1},
		"something is broken":          {Warnings: 1, Faults: 1},
	} {
		var b bytes.Buffer
		if err := r.WriteText(&b, false); err != nil || !strings.HasPrefix(b.String(), want+": ") {
			t.Errorf("%v: %q, want %q", err, &b, want)
		}
	}
}

// full is a disk that is.
type full struct{}

var errFull = errors.New("no space left")

func (full) Write([]byte) (int, error) { return 0, errFull }

func TestReportOfALostWriteIsAnError(t *testing.T) {
	t.Parallel()
	if err := (&doctor.Report{}).WriteText(full{}, false); !errors.Is(err, errFull) {
		t.Error(err)
	}
}

// What was found may cite what anybody wrote.
func TestReportSteersNoTerminal(t *testing.T) {
	t.Parallel()
	const evil = "by \x1b]0;owned\a\x1b[2J\nthem"
	r := doctor.Report{Checks: []doctor.Finding{
		{ID: "relay-paused", Outcome: doctor.Warning, Found: evil, Fix: evil},
		{ID: "slot", Outcome: doctor.NotJudged, Found: evil, Fix: evil},
	}}
	for _, all := range []bool{false, true} {
		var b bytes.Buffer
		if err := r.WriteText(&b, all); err != nil {
			t.Fatal(err)
		}
		if strings.ContainsAny(b.String(), "\x1b\a") || strings.Count(b.String(), "\n") != 5 {
			t.Errorf("%q", &b)
		}
	}
}
