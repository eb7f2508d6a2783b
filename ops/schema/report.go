package schema

import (
	"fmt"
	"io"
	"strings"
)

// Report is what Register, Check and Diff found, contract by contract.
type Report struct {
	Against   string           `json:"against"`
	Contracts []ContractReport `json:"contracts"`
}

// Status is what became of a contract.
type Status string

// The statuses of a contract.
const (
	StatusNew       Status = "new"       // not there yet
	StatusUnchanged Status = "unchanged" // there, in this very form
	StatusChanged   Status = "changed"   // a compatible new version
	StatusBroken    Status = "broken"    // an incompatible one
	StatusMissing   Status = "missing"   // there, and no contract of ours any more
)

// ContractReport is one contract's part of a Report.
type ContractReport struct {
	Subject string   `json:"subject"`
	Message string   `json:"message"`
	Status  Status   `json:"status"`
	Version int      `json:"version,omitempty"` // in the registry
	ID      int      `json:"id,omitempty"`      // after Register
	Changes []Change `json:"changes,omitempty"`
}

// Change is one difference between two versions of a contract.
type Change struct {
	Message  string `json:"message"`         // full name
	Field    string `json:"field,omitempty"` // field or enum value
	What     string `json:"what"`
	Breaking bool   `json:"breaking"`
	Remedy   string `json:"remedy,omitempty"`
}

func (c Change) String() string {
	name := c.Message
	if c.Field != "" {
		name += "." + c.Field
	}
	if c.Remedy == "" {
		return name + ": " + c.What
	}
	return name + ": " + c.What + "; " + c.Remedy
}

// Breaks returns the breaking changes, each once: contracts share messages.
func (r Report) Breaks() []Change {
	var list []Change
	seen := map[Change]bool{}
	for _, c := range r.Contracts {
		for _, ch := range c.Changes {
			if ch.Breaking && !seen[ch] {
				seen[ch] = true
				list = append(list, ch)
			}
		}
	}
	return list
}

// Err returns an [*IncompatibleError] when there are breaks.
func (r Report) Err() error {
	if breaks := r.Breaks(); len(breaks) > 0 {
		return &IncompatibleError{Against: r.Against, Breaks: breaks}
	}
	return nil
}

// WriteText writes one line a contract and below it one a change; with
// unchanged contracts only counted.
func (r Report) WriteText(w io.Writer) error {
	var b strings.Builder
	unchanged := 0
	for _, c := range r.Contracts {
		if c.Status == StatusUnchanged && len(c.Changes) == 0 {
			unchanged++
			continue
		}
		fmt.Fprintf(&b, "%-9s %s", c.Status, c.Subject)
		if c.ID != 0 {
			fmt.Fprintf(&b, " (id %d, version %d)", c.ID, c.Version)
		}
		b.WriteByte('\n')
		for _, ch := range c.Changes {
			mark := " "
			if ch.Breaking {
				mark = "!"
			}
			fmt.Fprintf(&b, "  %s %s\n", mark, ch)
		}
	}
	fmt.Fprintf(&b, "%d contracts against %s, %d unchanged, %d breaks\n", len(r.Contracts), r.Against, unchanged, len(r.Breaks()))
	_, err := io.WriteString(w, b.String())
	return err
}

// IncompatibleError says which changes would break readers.
type IncompatibleError struct {
	Against string
	Breaks  []Change
}

func (e *IncompatibleError) Error() string {
	lines := make([]string, len(e.Breaks))
	for i, c := range e.Breaks {
		lines[i] = c.String()
	}
	return fmt.Sprintf("incompatible with %s: %s", e.Against, strings.Join(lines, "; and "))
}

// ConflictError says that a registry answers otherwise than the one whose ids
// this database already holds.
type ConflictError struct {
	Subject             string
	Version             int
	StoredID, ID        int
	StoredRegistry, URL string
}

func (e *ConflictError) Error() string {
	return fmt.Sprintf("subject %s version %d: registry %s gives id %d, but this database knows it as id %d from registry %s",
		e.Subject, e.Version, e.URL, e.ID, e.StoredID, e.StoredRegistry)
}

// Refusal says what to do instead of going on.
func (e *ConflictError) Refusal() string {
	return "use the registry that this database was registered with, or move its schemas with their ids (mode IMPORT)"
}
