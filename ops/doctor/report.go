package doctor

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/gapless/gapless/internal/terminal"
)

// Outcome of a check.
type Outcome string

// The outcomes.
const (
	OK        Outcome = "ok"
	Warning   Outcome = "warning"
	Fault     Outcome = "fault"
	NotJudged Outcome = "not judged"
)

// Finding is what a check has found.
type Finding struct {
	ID      string  `json:"id"`
	Title   string  `json:"title"` // what is so when the outcome is ok
	Area    string  `json:"area"`
	Outcome Outcome `json:"outcome"`
	Found   string  `json:"found"`         // of NotJudged: the reason
	Fix     string  `json:"fix,omitempty"` // one line, a statement or command where there is one
}

// Report is the findings of a run.
type Report struct {
	StartedAt time.Time     `json:"started_at"`
	Took      time.Duration `json:"took_ns"`
	Checks    []Finding     `json:"checks"`
	OK        int           `json:"ok"`
	Warnings  int           `json:"warnings"`
	Faults    int           `json:"faults"`
	NotJudged int           `json:"not_judged"`
}

func (r *Report) add(f Finding) {
	r.Checks = append(r.Checks, f)
	switch f.Outcome {
	case OK:
		r.OK++
	case Warning:
		r.Warnings++
	case Fault:
		r.Faults++
	case NotJudged:
		r.NotJudged++
	}
}

// WriteText writes the report for people: what is wrong first, each with its fix,
// then what could not be judged, by reason, then what is right, and the verdict last.
// With all, each check has a line of its own.
func (r *Report) WriteText(w io.Writer, all bool) error {
	p := &printer{w: w}
	if all {
		p.each(r.Checks)
	} else {
		p.wrong(r.Checks)
		p.unjudged(r.Checks)
		p.right(r.Checks)
	}
	p.printf("%s\n", r.verdict())
	if p.err != nil {
		return fmt.Errorf("write report: %w", p.err)
	}
	return nil
}

func (r *Report) verdict() string {
	verdict := "all well"
	switch {
	case r.Faults > 0:
		verdict = "something is broken"
	case r.Warnings > 0:
		verdict = "works, with warnings"
	case r.OK == 0:
		verdict = "nothing could be judged"
	case r.NotJudged > 0:
		verdict = "what could be judged is well"
	}
	return fmt.Sprintf("%s: %d ok, %s, %s, %d not judged, in %s",
		verdict, r.OK, terminal.Count(r.Warnings, "warning"), terminal.Count(r.Faults, "fault"), r.NotJudged, r.Took.Round(time.Millisecond))
}

// printer keeps the first error.
type printer struct {
	w   io.Writer
	err error
}

func (p *printer) printf(format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.w, format, args...)
	}
}

const (
	outcomeWidth = 10
	idWidth      = 22
	lineWidth    = 110
)

func (p *printer) each(list []Finding) {
	for _, f := range list {
		p.printf("%-*s  %-*s  %s\n", outcomeWidth, f.Outcome, idWidth, f.ID, terminal.Line(f.Found))
		p.fix(f)
	}
}

func (p *printer) fix(f Finding) {
	if f.Fix != "" {
		p.printf("%*s  fix: %s\n", outcomeWidth+2+idWidth, "", terminal.Line(f.Fix))
	}
}

func (p *printer) wrong(list []Finding) {
	for _, outcome := range []Outcome{Fault, Warning} {
		for _, f := range list {
			if f.Outcome == outcome {
				p.each([]Finding{f})
			}
		}
	}
}

func (p *printer) unjudged(list []Finding) {
	var reasons []string
	byReason := map[string][]Finding{}
	for _, f := range list {
		if f.Outcome != NotJudged {
			continue
		}
		if byReason[f.Found] == nil {
			reasons = append(reasons, f.Found)
		}
		byReason[f.Found] = append(byReason[f.Found], f)
	}
	for _, reason := range reasons {
		p.printf("%-*s  %s:", outcomeWidth, NotJudged, terminal.Line(reason))
		p.names(byReason[reason], len(reason)+1)
		p.fix(byReason[reason][0])
	}
}

func (p *printer) right(list []Finding) {
	var right []Finding
	for _, f := range list {
		if f.Outcome == OK {
			right = append(right, f)
		}
	}
	if len(right) > 0 {
		p.printf("%-*s ", outcomeWidth, OK)
		p.names(right, -1)
	}
}

// names writes ids, comma separated, in lines that a terminal shows whole. The first
// line has used up used columns of those for text.
func (p *printer) names(list []Finding, used int) {
	var b strings.Builder
	at := outcomeWidth + 2 + used
	for i, f := range list {
		word := f.ID
		if i < len(list)-1 {
			word += ","
		}
		if at+1+len(word) > lineWidth {
			fmt.Fprintf(&b, "\n%*s", outcomeWidth+1, "")
			at = outcomeWidth + 1
		}
		b.WriteString(" " + word)
		at += 1 + len(word)
	}
	p.printf("%s\n", b.String())
}
