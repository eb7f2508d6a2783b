package relay

import "fmt"

// Refusal is returned by Run when going on would lose or repeat data, or could
// not be shown not to. From a start, nothing was sent and nothing was confirmed.
// From a stream that met a table it cannot read, what was acknowledged before is
// kept, and nothing of that table was confirmed. A command line exits with code
// 3 for it.
type Refusal struct { //nolint:errname // what the command line and its exit code call it
	What   string // what was found
	Remedy string // what to do, in words
}

func (r *Refusal) Error() string { return r.What }

// Refusal returns the remedy.
func (r *Refusal) Refusal() string { return r.Remedy }

func refuse(remedy, what string, args ...any) error {
	return &Refusal{What: fmt.Sprintf(what, args...), Remedy: remedy}
}
