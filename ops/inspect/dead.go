package inspect

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/gapless/gapless/contracts"
	"github.com/gapless/gapless/sql"
)

// DeadFilter chooses dead letters.
type DeadFilter struct {
	Status   string // "parked", "redriven", "discarded"; empty takes all
	Consumer string
	Topic    string
	Key      string
	Reason   string
	Since    time.Time
	Limit    int
}

// DeadLetter is a message that a consumer could not apply, without its bytes.
type DeadLetter struct {
	DeadLetterID  uuid.UUID `json:"dead_letter_id" db:"dead_letter_id"`
	Consumer      string    `json:"consumer" db:"consumer"`
	Generation    int       `json:"generation" db:"generation"`
	EventID       uuid.UUID `json:"event_id" db:"event_id"`
	Type          string    `json:"type,omitempty" db:"type"`
	Topic         string    `json:"topic" db:"topic"`
	Partition     int32     `json:"partition" db:"partition"`
	Offset        int64     `json:"offset" db:"offset"`
	Key           string    `json:"key" db:"key"` // bytes that are no ASCII are escaped
	Status        string    `json:"status" db:"status"`
	Reason        string    `json:"reason" db:"reason"`
	Error         string    `json:"error,omitempty" db:"error"`
	Attempts      int       `json:"attempts" db:"attempts"`
	FirstFailedAt time.Time `json:"first_failed_at" db:"first_failed_at"`
	LastFailedAt  time.Time `json:"last_failed_at" db:"last_failed_at"`
	Waiting       int64     `json:"waiting" db:"waiting"` // messages behind it on its key
}

// DeadMessage is a dead letter with its message as it was received.
type DeadMessage struct {
	DeadLetter
	RecordTimestamp time.Time `json:"record_timestamp" db:"record_timestamp"`
	KeyBytes        []byte    `json:"key_bytes" db:"key_bytes"` // base64 in JSON
	Value           []byte    `json:"value" db:"value"`         // base64 in JSON; null is a tombstone
	Headers         []Header  `json:"headers" db:"-"`
	// Message is the value as JSON, when it can be decoded; else Undecodable says
	// why not.
	Message     json.RawMessage `json:"message,omitempty" db:"-"`
	Undecodable string          `json:"undecodable,omitempty" db:"-"`
}

// Header is a record header.
type Header struct {
	Name  string `json:"name"`
	Value []byte `json:"value"` // base64 in JSON
}

// DeadLetters lists dead letters, newest first.
func DeadLetters(ctx context.Context, db DB, f DeadFilter) ([]DeadLetter, error) {
	return list[DeadLetter](ctx, db, "dead letters", sql.OpsDeadList, pgx.StrictNamedArgs{
		"status": f.Status, "consumer": f.Consumer, "topic": f.Topic, "key": f.Key, "reason": f.Reason, "since": since(f.Since), "limit": limit(f.Limit),
	})
}

// deadRow is DeadMessage as the table has it.
type deadRow struct {
	DeadMessage
	Pairs [][]*string `db:"headers"`
}

// ShowDeadLetter returns a dead letter by its own id or its event's, or an error
// that is [ErrNotFound].
func ShowDeadLetter(ctx context.Context, db DB, id uuid.UUID) (DeadMessage, error) {
	row, err := one[deadRow](ctx, db, "dead letter", sql.OpsDeadShow, pgx.StrictNamedArgs{"id": id})
	if err != nil {
		return DeadMessage{}, err
	}
	m := row.DeadMessage
	if m.Headers, err = headers(row.Pairs); err != nil {
		return DeadMessage{}, fmt.Errorf("show dead letter %s: %w", id, err)
	}
	m.decode()
	return m, nil
}

// headers reads pairs of name and base64 or null.
func headers(pairs [][]*string) ([]Header, error) {
	list := make([]Header, 0, len(pairs))
	for _, pair := range pairs {
		if len(pair) != 2 || pair[0] == nil {
			return nil, errors.New("headers are not an array of [name, base64 or null]")
		}
		h := Header{Name: *pair[0]}
		if pair[1] != nil {
			value, err := base64.StdEncoding.DecodeString(*pair[1])
			if err != nil {
				return nil, fmt.Errorf("header %q: %w", h.Name, err)
			}
			h.Value = value
		}
		list = append(list, h)
	}
	return list, nil
}

func (m *DeadMessage) decode() {
	if m.Value == nil {
		return
	}
	var contentType string
	for _, h := range m.Headers {
		if h.Name == "content-type" {
			contentType = string(h.Value)
			break
		}
	}
	if json.Valid(m.Value) { // as it was received, also what the contract does not know
		m.Message = m.Value
		return
	}
	body, err := contracts.Decode(contentType, m.Type, m.Value)
	if err == nil {
		m.Message, err = protojson.Marshal(body)
	}
	if err != nil {
		m.Undecodable = err.Error()
	}
}
