package outbox

import (
	"bytes"
	"cmp"
	"context"
	stdsql "database/sql"
	"encoding/json"
	"fmt"
	"maps"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/gapless/gapless/sql"
)

// Mode says where an event is written.
type Mode int

const (
	// ModeTable writes a row of gapless.outbox. The default.
	ModeTable Mode = iota
	// ModeWAL writes a transactional logical message; see the package comment
	// for its limits.
	ModeWAL
)

// Encoder turns a message into the bytes of a payload. It is called before
// anything is sent and must not do I/O.
type Encoder interface {
	// Encode returns the payload, its content-type, and the URI of its schema
	// or "". An unknown message type is an error.
	Encode(aggregateType string, m proto.Message) (payload []byte, contentType, dataSchema string, err error)
}

// Config of a Writer. The zero value is what [Append] uses.
type Config struct {
	// Encoder for events with a Message; nil means JSON (protojson, compact).
	Encoder Encoder
	// Mode is ModeTable unless set.
	Mode Mode
}

// Writer appends events. It has no state but its Config, may be used
// concurrently, and a zero Writer is ready to use.
type Writer struct {
	encoder Encoder
	mode    Mode
}

// New returns a Writer. It does no I/O.
func New(c Config) *Writer {
	return &Writer{encoder: c.Encoder, mode: c.Mode}
}

// Append writes events into the outbox within tx, in one round trip, with the
// default Config. See [Writer.Append].
func Append(ctx context.Context, tx pgx.Tx, events ...Event) error {
	return (&Writer{}).Append(ctx, tx, events...)
}

// AppendSQL is [Append] for a transaction of database/sql (any driver that
// speaks to Postgres with $1 placeholders).
func AppendSQL(ctx context.Context, tx *stdsql.Tx, events ...Event) error {
	return (&Writer{}).AppendSQL(ctx, tx, events...)
}

// Append writes events within tx, in one round trip. It does not commit.
//
// It returns a [*ValidationError], before anything is sent, for an event that
// could not be stored or relayed. Any other error comes from the database, and
// tx is then aborted. Without events it does nothing.
func (w *Writer) Append(ctx context.Context, tx pgx.Tx, events ...Event) error {
	if len(events) == 0 {
		return nil
	}
	var batch pgx.Batch
	if err := w.Queue(ctx, &batch, events...); err != nil {
		return err
	}
	if err := tx.SendBatch(ctx, &batch).Close(); err != nil {
		return fmt.Errorf("append to outbox: %w", err)
	}
	return nil
}

// Queue adds the events to a batch that the caller sends within a transaction:
// the append then shares the round trip of the statements around it. Errors of
// validation are returned at once, those of the database by the batch.
func (w *Writer) Queue(ctx context.Context, batch *pgx.Batch, events ...Event) error {
	if len(events) == 0 {
		return nil
	}
	r, err := w.rows(ctx, events)
	if err != nil {
		return err
	}
	if w.mode == ModeWAL {
		messages, err := r.messages()
		if err != nil {
			return err
		}
		for _, m := range messages {
			batch.Queue(sql.OutboxEmit, m)
		}
		return nil
	}
	batch.Queue(sql.OutboxAppend, r.ids, r.aggregateTypes, r.aggregateIDs, r.versions, r.types, r.payloads, r.headers)
	return nil
}

// AppendSQL is [Writer.Append] for a transaction of database/sql. It costs one
// round trip an event: that interface has no arrays and no pipelines.
func (w *Writer) AppendSQL(ctx context.Context, tx *stdsql.Tx, events ...Event) error {
	if len(events) == 0 {
		return nil
	}
	r, err := w.rows(ctx, events)
	if err != nil {
		return err
	}
	if w.mode == ModeWAL {
		messages, err := r.messages()
		if err != nil {
			return err
		}
		for _, m := range messages {
			if _, err := tx.ExecContext(ctx, sql.OutboxEmit, m); err != nil {
				return fmt.Errorf("append to outbox: %w", err)
			}
		}
		return nil
	}
	for i := range r.ids {
		// A nil []byte in an interface is not nil, and drivers differ in what they
		// make of it; a tombstone is NULL.
		var payload any
		if r.payloads[i] != nil {
			payload = r.payloads[i]
		}
		_, err := tx.ExecContext(ctx, sql.OutboxAppendOne, uuid.UUID(r.ids[i].Bytes).String(), r.aggregateTypes[i], r.aggregateIDs[i],
			r.versions[i], r.types[i], payload, r.headers[i])
		if err != nil {
			return fmt.Errorf("append to outbox: %w", err)
		}
	}
	return nil
}

// rows are validated, encoded events, column by column.
type rows struct {
	// Not uuid.UUID, which pgx would print and parse again (it is a driver.Valuer),
	// nor [16]byte, whose type pgx cannot tell in the modes without a description.
	ids            []pgtype.UUID
	aggregateTypes []string
	aggregateIDs   []string
	versions       []*int64
	types          []string
	payloads       [][]byte
	headers        []string
}

func (w *Writer) rows(ctx context.Context, events []Event) (*rows, error) {
	n := len(events)
	r := &rows{
		ids: make([]pgtype.UUID, n), aggregateTypes: make([]string, n), aggregateIDs: make([]string, n),
		versions: make([]*int64, n), types: make([]string, n), payloads: make([][]byte, n), headers: make([]string, n),
	}
	fromContext := ContextHeaders(ctx)
	given := map[uuid.UUID]bool{}
	for i := range events {
		e := events[i] // a copy: the caller's event is not changed
		if len(fromContext) > 0 {
			merged := maps.Clone(fromContext)
			maps.Copy(merged, e.Headers)
			e.Headers = merged
		}
		e, err := w.Encode(e)
		if err != nil {
			return nil, at(i, err)
		}
		if e.ID == uuid.Nil {
			id, err := uuid.NewV7()
			if err != nil {
				return nil, fmt.Errorf("make event id: %w", err)
			}
			e.ID = id
		} else if given[e.ID] {
			return nil, &ValidationError{Index: i, Field: "ID", Reason: fmt.Sprintf("%s is given twice in one call", e.ID)}
		} else {
			given[e.ID] = true
		}
		r.ids[i], r.aggregateTypes[i], r.aggregateIDs[i], r.types[i] = pgtype.UUID{Bytes: e.ID, Valid: true}, e.AggregateType, e.AggregateID, e.Type
		r.payloads[i] = e.Payload
		if e.AggregateVersion > 0 {
			r.versions[i] = &e.AggregateVersion
		}
		headers, err := json.Marshal(e.Headers)
		if err != nil {
			return nil, fmt.Errorf("encode headers: %w", err)
		}
		if r.headers[i] = string(headers); e.Headers == nil {
			r.headers[i] = "{}"
		}
	}
	return r, nil
}

// Encode returns e as it is stored: valid, with its Message as Payload. It is for
// who collects events before they are appended and wants to know at once what is
// wrong with one; appending the result is appending e. The error is a
// [*ValidationError] with the index 0.
func (w *Writer) Encode(e Event) (Event, error) {
	if err := e.validate(); err != nil {
		return Event{}, err
	}
	if err := w.encode(&e); err != nil {
		return Event{}, err
	}
	if err := e.validateHeadersSize(); err != nil {
		return Event{}, err
	}
	return e, nil
}

// encode turns Message into Payload and completes Type and Headers.
func (w *Writer) encode(e *Event) error {
	if e.Message == nil {
		return nil
	}
	e.Type = cmp.Or(e.Type, string(e.Message.ProtoReflect().Descriptor().Name()))
	payload, contentType, dataSchema, err := w.encodeMessage(e.AggregateType, e.Message)
	if err != nil {
		return &ValidationError{Field: "Message", Reason: fmt.Sprintf("of type %s cannot be encoded: %v", e.Type, err)}
	}
	if len(payload) > MaxPayloadBytes {
		return &ValidationError{Field: "Message", Reason: fmt.Sprintf("has %d bytes encoded, at most %d are allowed", len(payload), MaxPayloadBytes)}
	}
	headers := make(map[string]string, len(e.Headers)+2)
	maps.Copy(headers, e.Headers)
	headers[HeaderContentType] = contentType
	if dataSchema != "" {
		headers[HeaderDataSchema] = dataSchema
	}
	e.Message, e.Payload, e.Headers = nil, payload, headers
	return nil
}

func (w *Writer) encodeMessage(aggregateType string, m proto.Message) (payload []byte, contentType, dataSchema string, err error) {
	if w.encoder != nil {
		return w.encoder.Encode(aggregateType, m)
	}
	text, err := protojson.Marshal(m)
	if err != nil {
		return nil, "", "", err
	}
	// protojson varies its white space on purpose; a stored event should not.
	var compact bytes.Buffer
	if err := json.Compact(&compact, text); err != nil {
		return nil, "", "", err
	}
	return compact.Bytes(), "application/json", "", nil
}

// Emitted is the body of a logical message written in ModeWAL, prefix
// "gapless.outbox".
type Emitted struct {
	ID               uuid.UUID       `json:"id"`
	AggregateType    string          `json:"aggregatetype"`
	AggregateID      string          `json:"aggregateid"`
	AggregateVersion *int64          `json:"aggregate_version,omitempty"`
	Type             string          `json:"type"`
	Payload          []byte          `json:"payload"` // base64; null is a tombstone
	Headers          json.RawMessage `json:"headers"`
	CreatedAt        time.Time       `json:"created_at"`
}

func (r *rows) messages() ([]string, error) {
	list := make([]string, len(r.ids))
	for i := range r.ids {
		text, err := json.Marshal(Emitted{
			ID: uuid.UUID(r.ids[i].Bytes), AggregateType: r.aggregateTypes[i], AggregateID: r.aggregateIDs[i], AggregateVersion: r.versions[i],
			Type: r.types[i], Payload: r.payloads[i], Headers: json.RawMessage(r.headers[i]),
			CreatedAt: time.Now().UTC().Truncate(time.Microsecond),
		})
		if err != nil {
			return nil, fmt.Errorf("encode logical message: %w", err)
		}
		list[i] = string(text)
	}
	return list, nil
}
