package inspect

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/gapless/gapless/relay/kafkastate"
	"github.com/gapless/gapless/sql"
)

// ParkedFilter chooses parked rows of a slot; what is empty takes all.
type ParkedFilter struct {
	Slot   string      `json:"slot"`
	IDs    []uuid.UUID `json:"ids,omitempty"`
	Events []uuid.UUID `json:"events,omitempty"`
	Topic  string      `json:"topic,omitempty"`
	Key    string      `json:"key,omitempty"`
	Table  string      `json:"table,omitempty"`
	Fault  string      `json:"fault,omitempty"` // the reason for which it is parked
	Since  *time.Time  `json:"since,omitempty"` // parked at or after
	Until  *time.Time  `json:"until,omitempty"` // parked before
}

// IsEmpty tells whether it chooses every parked row of the slot.
func (f *ParkedFilter) IsEmpty() bool {
	return len(f.IDs) == 0 && len(f.Events) == 0 && f.Topic == "" && f.Key == "" && f.Table == "" && f.Fault == "" && f.Since == nil && f.Until == nil
}

// Parked is a row that the relay could not send.
type Parked struct {
	ID       uuid.UUID  `json:"id" db:"id"`
	EventID  *uuid.UUID `json:"event_id,omitempty" db:"event_id"`
	Table    string     `json:"table" db:"relation"`
	Key      *string    `json:"key" db:"row_key"` // null blocks nothing
	Topic    string     `json:"topic" db:"topic"`
	Position string     `json:"position" db:"position"`
	Reason   string     `json:"reason" db:"reason"`
	Error    string     `json:"error" db:"error"`
	Attempts int        `json:"attempts" db:"attempts"`
	ParkedAt time.Time  `json:"parked_at" db:"parked_at"`
	Blocks   bool       `json:"blocks" db:"blocks"` // its key waits
	Behind   int64      `json:"behind" db:"behind"` // rows that wait behind it
	Ahead    bool       `json:"ahead" db:"ahead"`   // it waits itself, behind a parked row that the filter leaves

	place kafkastate.Place // where the state is in Kafka
}

// ParkedRows lists the parked rows that f chooses, in the log's order.
func ParkedRows(ctx context.Context, db DB, f ParkedFilter) ([]Parked, error) {
	return list[Parked](ctx, db, "parked rows", sql.OpsParkedMatch, pgx.StrictNamedArgs{
		"slot": f.Slot, "ids": notNil(f.IDs), "events": notNil(f.Events), "topic": f.Topic, "key": f.Key, "relation": f.Table,
		"fault": f.Fault, "since": f.Since, "until": f.Until,
	})
}

// ParkedSlots tells whether the database knows of a relay of the slot, and which other slots
// it knows.
func ParkedSlots(ctx context.Context, db DB, slot string) (known bool, others []string, err error) {
	type slots struct {
		Known  bool     `db:"known"`
		Others []string `db:"others"`
	}
	found, err := one[slots](ctx, db, "slots", sql.OpsParkedSlots, pgx.StrictNamedArgs{"slot": slot})
	return found.Known, found.Others, err
}

func notNil(ids []uuid.UUID) []uuid.UUID {
	if ids == nil {
		return []uuid.UUID{}
	}
	return ids
}

// Requested is a request to the relay for parked rows.
type Requested struct {
	Request int64 `json:"request" db:"request"`
	Rows    int64 `json:"rows" db:"rows"`
}

// RequestParked asks the relay of the slot to redrive or discard rows. Rows that
// are no longer parked are left alone. f says in the audit row how they were chosen.
func RequestParked(ctx context.Context, db DB, action, reason string, f ParkedFilter, ids []uuid.UUID) (Requested, error) {
	filter, err := json.Marshal(f)
	if err != nil {
		return Requested{}, fmt.Errorf("request %s: %w", action, err)
	}
	return one[Requested](ctx, db, "request", sql.OpsParkedRequest, pgx.StrictNamedArgs{
		"slot": f.Slot, "action": action, "filter": filter, "reason": reason, "ids": ids,
	})
}

// ParkedOutcome is how far a request is.
type ParkedOutcome struct {
	Finished  bool   `json:"finished" db:"finished"`
	Sent      int64  `json:"sent" db:"sent"`
	Discarded int64  `json:"discarded" db:"discarded"`
	Failed    int64  `json:"failed" db:"failed"` // parked again
	LeftOver  int64  `json:"left_over" db:"left_over"`
	Fault     string `json:"fault,omitempty" db:"fault"` // of one that failed
}

// OutcomeOfParked tells how far a request is.
func OutcomeOfParked(ctx context.Context, db DB, request int64) (ParkedOutcome, error) {
	return one[ParkedOutcome](ctx, db, "request", sql.OpsParkedOutcome, pgx.StrictNamedArgs{"id": request})
}
