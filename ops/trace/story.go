package trace

import (
	"fmt"
	"io"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/google/uuid"

	"github.com/gapless/gapless/internal/terminal"
)

// MaxEvents is how many events of an aggregate a story holds.
const MaxEvents = 1_000

// Story is all that is known of one thing.
type Story struct {
	Query   string     `json:"query"` // the id that was asked for
	Kind    string     `json:"kind"`  // what it is: "order", "saga", "event" or "trace"
	Key     string     `json:"key"`   // aggregate id, and key of the records
	OrderID *uuid.UUID `json:"order_id,omitempty"`
	TraceID string     `json:"trace_id,omitempty"`
	Status  string     `json:"status,omitempty"` // of the order
	Events  []Event    `json:"events"`
	// Entries is the timeline, in order of time; what is missing stands where it
	// was to be expected.
	Entries []Entry `json:"entries"`
	// Notes say what could not be looked up.
	Notes []string `json:"notes,omitempty"`
}

// Event is one event and where it has come.
type Event struct {
	ID            uuid.UUID `json:"id"`
	AggregateType string    `json:"aggregate_type"`
	Type          string    `json:"type"`
	Version       int64     `json:"version,omitempty"`
	CreatedAt     time.Time `json:"created_at"`
	CorrelationID string    `json:"correlation_id,omitempty"`
	CausationID   string    `json:"causation_id,omitempty"`
	StepID        string    `json:"step_id,omitempty"`
	Traceparent   string    `json:"traceparent,omitempty"`
	Topic         string    `json:"topic"`
	Record        *Record   `json:"record,omitempty"`
	Claims        []Claim   `json:"claims"`
	// Waiting are the consumers of the topic that have no claim yet.
	Waiting []string `json:"waiting,omitempty"`
}

// Record is where an event is in Kafka.
type Record struct {
	Partition int32 `json:"partition"`
	Offset    int64 `json:"offset"`
	// Position is timeline, commit LSN and index of the row in the WAL.
	Position string `json:"position,omitempty"`
	// Repeats counts further records of the event; known only when Kafka was
	// asked.
	Repeats int `json:"repeats,omitempty"`
}

// Claim is a consumer's inbox row.
type Claim struct {
	Consumer   string    `json:"consumer"`
	Generation int       `json:"generation"`
	Outcome    string    `json:"outcome"`
	AppliedAt  time.Time `json:"applied_at"`
}

// Entry is one line of the timeline.
type Entry struct {
	At      *time.Time     `json:"at,omitempty"` // nil: the store does not say, or Missing
	Store   string         `json:"store"`        // "request", "order", "outbox", "kafka", "inbox", "saga", …
	What    string         `json:"what"`
	ID      string         `json:"id,omitempty"`
	Missing bool           `json:"missing,omitempty"`
	Detail  map[string]any `json:"detail,omitempty"`

	sort time.Time
}

// Missing returns the entries of what should be there and is not.
func (s *Story) Missing() []Entry {
	var list []Entry
	for _, e := range s.Entries {
		if e.Missing {
			list = append(list, e)
		}
	}
	return list
}

// WriteText writes the story as an aligned timeline: time (UTC), milliseconds
// since the first entry, store, what happened, id.
func (s *Story) WriteText(w io.Writer) error {
	head := s.Kind + " " + s.Query
	if s.Key != s.Query && s.Key != "" {
		head += ", key " + s.Key
	}
	if s.Status != "" {
		head += ", " + s.Status
	}
	if s.TraceID != "" {
		head += ", trace " + s.TraceID
	}
	fmt.Fprintf(w, "%s\n\n", terminal.Line(head))
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	var first, day time.Time
	for _, e := range s.Entries {
		at, since := "", ""
		if e.At != nil {
			if first.IsZero() {
				first = *e.At
			}
			at = e.At.UTC().Format("15:04:05.000")
			if d := e.At.UTC().Truncate(24 * time.Hour); !d.Equal(day) {
				day, at = d, e.At.UTC().Format("2006-01-02 15:04:05.000")
			}
			since = "+" + strconv.FormatInt(e.At.Sub(first).Milliseconds(), 10) + " ms"
		}
		if e.Missing {
			at = "missing"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", at, since, e.Store, terminal.Line(e.What), terminal.Line(e.ID))
	}
	if err := t.Flush(); err != nil {
		return fmt.Errorf("write story: %w", err)
	}
	for _, note := range s.Notes {
		if _, err := fmt.Fprintf(w, "\nnote: %s\n", terminal.Line(note)); err != nil {
			return fmt.Errorf("write story: %w", err)
		}
	}
	return nil
}
