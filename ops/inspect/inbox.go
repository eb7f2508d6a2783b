package inspect

import (
	"context"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/gapless/gapless/sql"
)

// InboxFilter chooses claims.
type InboxFilter struct {
	Consumer string
	EventID  uuid.UUID
	Outcome  string
	Topic    string
	Since    time.Time
	Limit    int
}

// Claim is a row of the inbox.
type Claim struct {
	Consumer   string    `json:"consumer" db:"consumer"`
	Generation int       `json:"generation" db:"generation"`
	EventID    uuid.UUID `json:"event_id" db:"event_id"`
	Outcome    string    `json:"outcome" db:"outcome"`
	Topic      string    `json:"topic" db:"topic"`
	Partition  int32     `json:"partition" db:"partition"`
	Offset     int64     `json:"offset" db:"offset"`
	Position   string    `json:"position,omitempty" db:"position"`
	AppliedAt  time.Time `json:"applied_at" db:"applied_at"`
}

// Inbox lists claims, newest events first.
func Inbox(ctx context.Context, db DB, f InboxFilter) ([]Claim, error) {
	return list[Claim](ctx, db, "inbox", sql.OpsInboxList, pgx.StrictNamedArgs{
		"consumer": f.Consumer, "event_id": optional(f.EventID), "outcome": f.Outcome, "topic": f.Topic, "since": since(f.Since), "limit": limit(f.Limit),
	})
}

func optional(id uuid.UUID) *uuid.UUID {
	if id == uuid.Nil {
		return nil
	}
	return &id
}
