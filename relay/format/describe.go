package format

import (
	"cmp"
	"encoding/binary"

	"github.com/jackc/pgx/v5/pgtype"

	"github.com/gapless/gapless/relay/pgoutput"
)

// Description says in words what a format makes of a table's rows.
type Description struct {
	Topic     string   `json:"topic"` // a pattern; <column> is that column's value
	Key       string   `json:"key"`
	Value     string   `json:"value"`
	Headers   []string `json:"headers"`
	Partition string   `json:"partition"`
	Timestamp string   `json:"timestamp"`
	Updates   string   `json:"updates"` // what becomes of an UPDATE of a row

	// Sample is a made-up row, of a table as the format expects it.
	Sample []Sample `json:"-"`
}

// Sample is one column of a made-up row.
type Sample struct {
	Name string
	OID  uint32
	Data []byte // as Postgres sends it in binary
}

// Describer is a Format that can say what it does. All of this program's are.
type Describer interface{ Describe() Description }

// Row puts samples together to a table and its row.
func Row(namespace, name string, samples []Sample) (*pgoutput.Relation, []pgoutput.Column) {
	rel := &pgoutput.Relation{Namespace: []byte(namespace), Name: []byte(name)}
	var row []pgoutput.Column
	for _, s := range samples {
		rel.Columns = append(rel.Columns, pgoutput.RelationColumn{Name: []byte(s.Name), TypeOID: s.OID, Modifier: -1})
		row = append(row, pgoutput.Column{Kind: pgoutput.Binary, Value: s.Data})
	}
	return rel, row
}

// TextSample is a text.
func TextSample(name, value string) Sample { return Sample{name, pgtype.TextOID, []byte(value)} }

// JSONSample is a jsonb.
func JSONSample(name, value string) Sample {
	return Sample{name, pgtype.JSONBOID, append([]byte{1}, value...)}
}

// UUIDSample is a UUIDv7.
func UUIDSample(name string) Sample {
	return Sample{name, pgtype.UUIDOID, []byte{0x01, 0x9b, 0x76, 0xda, 0xa8, 0x00, 0x70, 0, 0x80, 0, 0, 0, 0, 0, 0, 1}}
}

// TimeSample is a timestamptz: 2026-01-01.
func TimeSample(name string) Sample {
	const micros = 9497 * 86_400_000_000 // since 2000-01-01
	return Sample{name, pgtype.TimestamptzOID, binary.BigEndian.AppendUint64(nil, micros)}
}

// IntSample is an integer.
func IntSample(name string, value uint32) Sample {
	return Sample{name, pgtype.Int4OID, binary.BigEndian.AppendUint32(nil, value)}
}

// ByteaSample is a bytea.
func ByteaSample(name, value string) Sample { return Sample{name, pgtype.ByteaOID, []byte(value)} }

const (
	byKey     = "by the key, as the Java client does"
	ofUpdates = "passed over, with a warning"
)

// Describe implements Describer.
func (n Native) Describe() Description {
	return Description{
		Topic: cmp.Or(n.TopicPrefix, "outbox.event.") + "<aggregatetype>",
		Key:   "column aggregateid", Value: "column payload, as it is; null is a tombstone",
		Headers: []string{
			"ce_id, id: column id", "ce_sequence: column aggregate_version", "ce_source: " + cmp.Or(n.Source, "/gapless"), "ce_specversion: 1.0",
			"ce_subject: column aggregateid", "ce_time: column created_at", "ce_type: column type", "gapless_position: the place in the log",
			"those of column headers, under their own names",
		},
		Partition: byKey, Timestamp: "column created_at", Updates: ofUpdates,
		Sample: []Sample{
			UUIDSample("id"), TextSample("aggregatetype", "order"), TextSample("aggregateid", "order-1"), IntSample("aggregate_version", 1),
			TextSample("type", "OrderPlaced"), ByteaSample("payload", `{"order_id":"order-1"}`),
			JSONSample("headers", `{"content-type":"application/json"}`), TimeSample("created_at"),
		},
	}
}

// Describe implements Describer.
func (DeadLetter) Describe() Description {
	return Description{
		Topic: "dlq.<consumer's group>.<topic>", Key: "as it was received", Value: "as it was received",
		Headers:   []string{"as they were received", "gapless_dlq_…: what failed, where and why"},
		Partition: byKey, Timestamp: "as it was received", Updates: ofUpdates,
		Sample: []Sample{
			UUIDSample("dead_letter_id"), TextSample("consumer", "notification"), TextSample("topic", "outbox.event.order"),
			ByteaSample("key", "order-1"), ByteaSample("value", `{"order_id":"order-1"}`), JSONSample("headers", "[]"),
			TimeSample("record_timestamp"), TextSample("reason", "failed"),
		},
	}
}
