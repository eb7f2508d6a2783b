package inspect

import (
	"context"
	"encoding/json"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/gapless/gapless/sql"
)

// Replay is one of outbox rows, see relay.Replayer.
type Replay struct {
	ID         uuid.UUID       `json:"id" db:"id"`
	Slot       string          `json:"slot" db:"slot"`
	Request    json.RawMessage `json:"request" db:"request"`
	Rows       int64           `json:"rows" db:"rows"` // chosen
	Sent       int64           `json:"sent" db:"sent"`
	Held       int64           `json:"held" db:"held"`
	Failed     int64           `json:"failed" db:"failed"`
	Error      string          `json:"error" db:"error"`
	Reason     string          `json:"reason" db:"reason"`
	Actor      string          `json:"actor" db:"actor"`
	StartedAt  time.Time       `json:"started_at" db:"started_at"`
	UpdatedAt  time.Time       `json:"updated_at" db:"updated_at"`
	FinishedAt *time.Time      `json:"finished_at,omitempty" db:"finished_at"` // nil while it is open
	Signal     *string         `json:"signal,omitempty" db:"signal"`           // that asked for it; nil: 'relay replay' did
	Paused     bool            `json:"paused,omitempty" db:"paused"`           // by a signal
}

// Replays lists the newest n, of one slot or, when it is empty, of all.
func Replays(ctx context.Context, db DB, slot string, n int) ([]Replay, error) {
	return list[Replay](ctx, db, "replays", sql.OpsReplays, pgx.StrictNamedArgs{"slot": slot, "limit": limit(n)})
}
