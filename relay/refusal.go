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
	// SQL are the statements of the remedy, in their order, without semicolons.
	SQL []string
}

func (r *Refusal) Error() string { return r.What }

// Refusal returns the remedy.
func (r *Refusal) Refusal() string { return r.Remedy }

// Statements returns the SQL of the remedy.
func (r *Refusal) Statements() []string { return r.SQL }

func refuse(remedy, what string, args ...any) error {
	return &Refusal{What: fmt.Sprintf(what, args...), Remedy: remedy}
}

// refuseSQL is a refuse with statements that a person runs.
func refuseSQL(statements []string, remedy, what string, args ...any) error {
	return &Refusal{What: fmt.Sprintf(what, args...), Remedy: remedy, SQL: statements}
}

// SlotMissing is the refusal of a relay whose slot is gone, but not its record.
func SlotMissing(slot string) *Refusal {
	return &Refusal{
		What:   fmt.Sprintf("slot %q does not exist, but its progress record does", slot),
		Remedy: "What was missed is in the outbox table. " + byHand,
		SQL:    []string{makeSlotSQL(slot), resendSQL(slot), followSQL(slot)},
	}
}

// SlotLost is the refusal of a relay whose slot has lost WAL that it needs.
func SlotLost(slot string) *Refusal {
	return &Refusal{
		What:   fmt.Sprintf("slot %q has lost WAL that it needs", slot),
		Remedy: "The slot is of no use any more; what it has lost is in the outbox table. " + byHand,
		SQL:    []string{dropSlotSQL(slot), makeSlotSQL(slot), resendSQL(slot), followSQL(slot)},
	}
}
