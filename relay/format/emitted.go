package format

import (
	"encoding/binary"
	"encoding/json"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5/pgtype"

	"github.com/gapless/gapless/relay/pgoutput"
)

// Emitted is the format of an event that was written as a logical message (the
// outbox library's WAL mode): a JSON object with the columns of
// gapless.outbox, payload in base64. Its record is the one that Native makes
// of the same row.
type Emitted struct{ rows Rows }

// emittedColumns is gapless.outbox as Native reads it.
var emittedColumns = []pgoutput.RelationColumn{
	{Name: []byte("id"), TypeOID: pgtype.UUIDOID},
	{Name: []byte("aggregatetype"), TypeOID: pgtype.TextOID},
	{Name: []byte("aggregateid"), TypeOID: pgtype.TextOID},
	{Name: []byte("aggregate_version"), TypeOID: pgtype.Int8OID},
	{Name: []byte("type"), TypeOID: pgtype.TextOID},
	{Name: []byte("payload"), TypeOID: pgtype.ByteaOID},
	{Name: []byte("headers"), TypeOID: pgtype.JSONOID},
	{Name: []byte("created_at"), TypeOID: pgtype.TimestamptzOID},
}

// NewEmitted returns the format with the settings of n.
func NewEmitted(n Native) (Emitted, error) {
	rows, err := n.Prepare(&Table{Relation: &pgoutput.Relation{
		Namespace: []byte("gapless"), Name: []byte("outbox"), Columns: emittedColumns,
	}})
	return Emitted{rows}, err
}

// Record fills r from the content of a message, like Rows.Record.
func (e Emitted) Record(p Position, content []byte, b *Buffer, r *Record) error {
	r.Reset(p)
	var m struct {
		ID               *string         `json:"id"`
		AggregateType    *string         `json:"aggregatetype"`
		AggregateID      *string         `json:"aggregateid"`
		AggregateVersion *int64          `json:"aggregate_version"`
		Type             *string         `json:"type"`
		Payload          []byte          `json:"payload"`
		Headers          json.RawMessage `json:"headers"`
		CreatedAt        *time.Time      `json:"created_at"`
	}
	if err := json.Unmarshal(content, &m); err != nil {
		return fault(BadValue, "message of %d bytes is not an event", len(content))
	}
	text := func(s *string) pgoutput.Column {
		if s == nil {
			return pgoutput.Column{Kind: pgoutput.Null}
		}
		return pgoutput.Column{Kind: pgoutput.Text, Value: []byte(*s)}
	}
	raw := func(v []byte, null bool) pgoutput.Column {
		if null {
			return pgoutput.Column{Kind: pgoutput.Null}
		}
		return pgoutput.Column{Kind: pgoutput.Binary, Value: v}
	}
	columns := []pgoutput.Column{
		text(m.ID), text(m.AggregateType), text(m.AggregateID),
		{Kind: pgoutput.Null},
		text(m.Type),
		raw(m.Payload, m.Payload == nil), raw(m.Headers, m.Headers == nil || string(m.Headers) == "null"),
		{Kind: pgoutput.Null},
	}
	if m.AggregateVersion != nil {
		columns[3] = pgoutput.Column{Kind: pgoutput.Text, Value: strconv.AppendInt(nil, *m.AggregateVersion, 10)}
	}
	if m.CreatedAt != nil {
		columns[7] = raw(binary.BigEndian.AppendUint64(nil, uint64(Micros(*m.CreatedAt))), false)
	}
	return e.rows.Record(p, columns, b, r)
}
