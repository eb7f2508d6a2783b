package cli

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/google/uuid"

	"github.com/gapless/gapless/internal/terminal"
)

// listing are the flags of every list.
type listing struct {
	database
	output
	Since since `help:"Only what is younger: a duration back from now (90s, 1h30m, 7d), or a time (RFC 3339, or a date in UTC)." placeholder:"TIME"`
	Limit int   `help:"Most rows to show, newest first." default:"100"`
}

func (l listing) valid() error {
	if l.Limit < 1 {
		return errLimit
	}
	return nil
}

var errLimit = usage("--limit must be at least 1")

// age is a duration that may be given in days.
type age struct{ time.Duration }

// UnmarshalText is what kong and the configuration file read it with.
func (a *age) UnmarshalText(text []byte) error {
	v := string(text)
	if days, ok := strings.CutSuffix(v, "d"); ok {
		n, err := strconv.ParseUint(days, 10, 16)
		if err == nil {
			a.Duration = time.Duration(n) * 24 * time.Hour
			return nil
		}
	}
	d, err := time.ParseDuration(v)
	if err != nil || d < 0 {
		return fmt.Errorf("%q is no duration such as 90s, 36h or 7d", v)
	}
	a.Duration = d
	return nil
}

// String is in the form that UnmarshalText takes.
func (a age) String() string {
	if days := a.Duration / (24 * time.Hour); days > 0 && a.Duration%(24*time.Hour) == 0 {
		return fmt.Sprintf("%dd", days)
	}
	return a.Duration.String()
}

// since is a moment, given as such or as a distance from now.
type since struct{ time.Time }

// UnmarshalText is what kong reads the flag with.
func (s *since) UnmarshalText(text []byte) error {
	v := string(text)
	if v == "" {
		return nil
	}
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if at, err := time.Parse(layout, v); err == nil {
			s.Time = at
			return nil
		}
	}
	back := strings.TrimPrefix(v, "-")
	if days, ok := strings.CutSuffix(back, "d"); ok {
		if n, err := strconv.ParseUint(days, 10, 16); err == nil {
			s.Time = time.Now().AddDate(0, 0, -int(n))
			return nil
		}
	}
	d, err := time.ParseDuration(back)
	if err != nil || d < 0 {
		return fmt.Errorf("%q is neither a duration (90s, 1h30m, 7d) nor a time (2026-01-31, 2026-01-31T15:04:05Z)", v)
	}
	s.Time = time.Now().Add(-d)
	return nil
}

// parseID reads an id that a filter or argument names.
func parseID(what, text string) (uuid.UUID, error) {
	if text == "" {
		return uuid.Nil, nil
	}
	id, err := uuid.Parse(text)
	if err != nil {
		return id, usage("%s: %q is not a UUID", what, text)
	}
	return id, nil
}

// stamp is a time in a table: UTC, to the millisecond.
func stamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05.000") }

// row writes one line of a table.
func row(w *tabwriter.Writer, cells ...any) {
	for i, c := range cells {
		if i > 0 {
			fmt.Fprint(w, "\t")
		}
		switch c := c.(type) {
		case time.Time:
			fmt.Fprint(w, stamp(c))
		default:
			fmt.Fprint(w, terminal.Line(fmt.Sprint(c)))
		}
	}
	fmt.Fprintln(w)
}

// line prints data as one line of JSON, for what has no end.
func (o output) line(e *env, data any) error {
	if err := json.NewEncoder(e.stdout).Encode(data); err != nil {
		return fmt.Errorf("write json: %w", err)
	}
	return nil
}
