package inspect

import (
	"context"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/gapless/gapless/sql"
)

// SagaFilter chooses sagas.
type SagaFilter struct {
	Status  string
	OrderID uuid.UUID
	Open    bool // only those that are not over
	Stuck   bool // only those that a person should look at
	Since   time.Time
	Limit   int
}

// Saga is one saga.
type Saga struct {
	SagaID       uuid.UUID  `json:"saga_id" db:"saga_id"`
	OrderID      uuid.UUID  `json:"order_id" db:"order_id"`
	Type         string     `json:"type" db:"type"`
	Status       string     `json:"status" db:"status"`
	Step         string     `json:"step,omitempty" db:"step"`
	Reason       string     `json:"reason,omitempty" db:"reason"`
	Stuck        string     `json:"stuck,omitempty" db:"why"` // why a person should look at it
	CancelWanted bool       `json:"cancel_wanted,omitempty" db:"cancel_wanted"`
	Deadline     *time.Time `json:"deadline,omitempty" db:"deadline"`
	StartedAt    time.Time  `json:"started_at" db:"started_at"`
	UpdatedAt    time.Time  `json:"updated_at" db:"updated_at"`
	FinishedAt   *time.Time `json:"finished_at,omitempty" db:"finished_at"`
}

// SagaStep is a step in one direction.
type SagaStep struct {
	Step       string     `json:"step" db:"step"`
	Direction  string     `json:"direction" db:"direction"`
	StepID     uuid.UUID  `json:"step_id" db:"step_id"`
	Status     string     `json:"status" db:"status"`
	Attempts   int        `json:"attempts" db:"attempts"`
	CommandID  *uuid.UUID `json:"command_id,omitempty" db:"command_id"`
	ReplyID    *uuid.UUID `json:"reply_id,omitempty" db:"reply_id"`
	ReplyType  string     `json:"reply_type,omitempty" db:"reply_type"`
	Error      string     `json:"error,omitempty" db:"error"`
	StartedAt  time.Time  `json:"started_at" db:"started_at"`
	FinishedAt *time.Time `json:"finished_at,omitempty" db:"finished_at"`
}

// IgnoredReply is a reply that moved nothing.
type IgnoredReply struct {
	EventID    uuid.UUID  `json:"event_id" db:"event_id"`
	Type       string     `json:"type" db:"type"`
	StepID     *uuid.UUID `json:"step_id,omitempty" db:"step_id"`
	Why        string     `json:"why" db:"why"`
	ReceivedAt time.Time  `json:"received_at" db:"received_at"`
}

// SagaDetail is a saga with its steps.
type SagaDetail struct {
	Saga
	Steps   []SagaStep     `json:"steps"`
	Ignored []IgnoredReply `json:"ignored"`
}

// Sagas lists sagas, last moved first.
func Sagas(ctx context.Context, db DB, f SagaFilter) ([]Saga, error) {
	return list[Saga](ctx, db, "sagas", sql.OpsSagaList, pgx.StrictNamedArgs{
		"status": f.Status, "order_id": optional(f.OrderID), "open": f.Open, "stuck": f.Stuck, "since": since(f.Since), "limit": limit(f.Limit),
	})
}

// ShowSaga returns a saga by its own id or its order's, or an error that is
// [ErrNotFound].
func ShowSaga(ctx context.Context, db DB, id uuid.UUID) (SagaDetail, error) {
	saga, err := one[Saga](ctx, db, "saga", sql.OpsSagaShow, pgx.StrictNamedArgs{"id": id})
	if err != nil {
		return SagaDetail{}, err
	}
	detail := SagaDetail{Saga: saga}
	args := pgx.StrictNamedArgs{"id": saga.SagaID}
	if detail.Steps, err = list[SagaStep](ctx, db, "saga steps", sql.OpsSagaSteps, args); err != nil {
		return SagaDetail{}, err
	}
	detail.Ignored, err = list[IgnoredReply](ctx, db, "ignored replies", sql.OpsSagaIgnored, args)
	return detail, err
}
