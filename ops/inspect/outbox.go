package inspect

import (
	"cmp"
	"context"
	"encoding/json"
	"maps"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/gapless/gapless/sql"
)

// OutboxFilter chooses rows of the outbox.
type OutboxFilter struct {
	AggregateType string
	AggregateID   string
	Type          string
	Since         time.Time
	Limit         int
}

// OutboxRow is a row of the outbox without its payload.
type OutboxRow struct {
	ID            uuid.UUID `json:"id" db:"id"`
	CreatedAt     time.Time `json:"created_at" db:"created_at"`
	AggregateType string    `json:"aggregatetype" db:"aggregatetype"`
	AggregateID   string    `json:"aggregateid" db:"aggregateid"`
	Version       int64     `json:"aggregate_version,omitempty" db:"version"`
	Type          string    `json:"type" db:"type"`
	PayloadBytes  int       `json:"payload_bytes" db:"payload_bytes"`
	ContentType   string    `json:"content_type,omitempty" db:"content_type"`
}

// OutboxEvent is a row with its payload, which is JSON whatever its encoding is
// in the table: null is a tombstone.
type OutboxEvent struct {
	OutboxRow
	Payload json.RawMessage   `json:"payload" db:"payload"`
	Headers map[string]string `json:"headers" db:"headers"`
}

// Outbox lists rows, newest first.
func Outbox(ctx context.Context, db DB, f OutboxFilter) ([]OutboxRow, error) {
	return list[OutboxRow](ctx, db, "outbox", sql.OpsOutboxList, pgx.StrictNamedArgs{
		"aggregate_type": f.AggregateType, "aggregate_id": f.AggregateID, "type": f.Type, "since": since(f.Since), "limit": limit(f.Limit),
	})
}

// ShowOutbox returns one row, or an error that is [ErrNotFound].
func ShowOutbox(ctx context.Context, db DB, id uuid.UUID) (OutboxEvent, error) {
	return one[OutboxEvent](ctx, db, "event", sql.OpsOutboxShow, pgx.StrictNamedArgs{"id": id})
}

// Follow is how [FollowOutbox] goes on.
type Follow struct {
	Every   time.Duration // default 500 ms
	Overlap time.Duration // default 30 s
}

// followLimit bounds what one look takes.
const followLimit = 10_000

// FollowOutbox calls f for each row that f's filter takes and that becomes
// visible from now on, or was made since Since; oldest first within one look. It
// blocks until ctx ends, which is no error, or until f or the database fails. See
// the package comment for what it can miss.
func FollowOutbox(ctx context.Context, db DB, filter OutboxFilter, c Follow, f func(OutboxRow) error) error {
	c.Every, c.Overlap = cmp.Or(c.Every, 500*time.Millisecond), cmp.Or(c.Overlap, 30*time.Second)
	if filter.Since.IsZero() {
		filter.Since = time.Now()
	}
	filter.Limit = followLimit
	seen := make(map[uuid.UUID]time.Time)
	tick := time.NewTicker(c.Every)
	defer tick.Stop()
	for {
		rows, err := Outbox(ctx, db, filter)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		slices.Reverse(rows)
		newest := filter.Since
		for _, row := range rows {
			if row.CreatedAt.After(newest) {
				newest = row.CreatedAt
			}
			if _, ok := seen[row.ID]; ok {
				continue
			}
			seen[row.ID] = row.CreatedAt
			if err := f(row); err != nil {
				return err
			}
		}
		// By the rows' clock, not ours.
		if from := newest.Add(-c.Overlap); from.After(filter.Since) {
			filter.Since = from
			maps.DeleteFunc(seen, func(_ uuid.UUID, at time.Time) bool { return at.Before(from) })
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}
