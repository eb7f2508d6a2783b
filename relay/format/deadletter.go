package format

import (
	"encoding/base64"
	"strconv"

	"github.com/jackc/pgx/v5/pgtype"

	"github.com/gapless/gapless/relay/pgoutput"
)

// DeadLetter is the format of gapless.dead_letter: a message that a consumer
// could not apply goes to dlq.<group>.<topic> with key, value, timestamp and
// headers as they were, headers in their own order, followed by
//
//	gapless_dlq_id, _consumer, _topic, _partition, _offset, _reason, _error,
//	_attempts, _first_failed_at, _last_failed_at
//
// of which those whose column is null are left out.
type DeadLetter struct{}

type deadLetterRows struct {
	id, consumer, generation, eventID, topic, key, value, headers, timestamp field

	marks []mark
}

type mark struct {
	name  string
	field field
}

// Prepare needs what the record is made of; the marks are optional.
func (DeadLetter) Prepare(t *Table) (Rows, error) {
	f, err := find(t.Relation, []string{"dead_letter_id", "consumer", "topic", "key", "value", "headers"},
		"generation", "event_id", "record_timestamp", "partition", "offset", "reason", "error", "attempts", "first_failed_at", "last_failed_at")
	if err != nil {
		return nil, err
	}
	rows := &deadLetterRows{
		id: f["dead_letter_id"], consumer: f["consumer"], generation: f["generation"], eventID: f["event_id"],
		topic: f["topic"], key: f["key"], value: f["value"], headers: f["headers"], timestamp: f["record_timestamp"],
	}
	for _, name := range []string{"dead_letter_id", "consumer", "topic", "partition", "offset", "reason", "error", "attempts", "first_failed_at", "last_failed_at"} {
		label := name
		if name == "dead_letter_id" {
			label = "id"
		}
		rows.marks = append(rows.marks, mark{"gapless_dlq_" + label, f[name]})
	}
	return rows, nil
}

func (d *deadLetterRows) Record(p Position, columns []pgoutput.Column, b *Buffer, r *Record) error {
	r.Reset(p)
	first := len(b.Headers)
	var err error
	if r.Key, _, err = d.key.text(columns, b); err != nil {
		return err
	}
	if r.Value, _, err = d.value.text(columns, b); err != nil {
		return err
	}
	if err := d.route(columns, b, r); err != nil {
		return err
	}
	if c, ok, _ := d.eventID.value(columns); ok {
		if r.EventID, err = d.eventID.uuid(c); err != nil {
			return err
		}
	}
	if c, ok, _ := d.timestamp.value(columns); ok {
		if r.Timestamp, err = d.timestamp.time(c); err != nil {
			return err
		}
	}
	headers, ok, err := d.headers.text(columns, b)
	if err != nil {
		return err
	}
	if ok {
		if err := PairHeaders(headers, b); err != nil {
			return err
		}
	}
	for _, m := range d.marks {
		if err := m.append(columns, b); err != nil {
			return err
		}
	}
	r.Headers = b.Headers[first:len(b.Headers):len(b.Headers)]
	return nil
}

// route names the topic: dlq.gapless.<consumer>.<topic>, and the group of a
// rebuild has its generation.
func (d *deadLetterRows) route(columns []pgoutput.Column, b *Buffer, r *Record) error {
	consumer, _, err := d.consumer.text(columns, b)
	if err != nil {
		return err
	}
	topic, _, err := d.topic.text(columns, b)
	if err != nil {
		return err
	}
	group := "gapless." + string(consumer)
	if c, ok, _ := d.generation.value(columns); ok {
		n, err := d.generation.int(c)
		if err != nil {
			return err
		}
		if n > 1 {
			group += ".g" + strconv.FormatInt(n, 10)
		}
	}
	r.Topic = "dlq." + group + "." + string(topic)
	return CheckTopic(r.Topic)
}

func (m mark) append(columns []pgoutput.Column, b *Buffer) error {
	c, ok, err := m.field.value(columns)
	if err != nil || !ok {
		return err
	}
	if m.field.oid == pgtype.TimestamptzOID {
		t, err := m.field.time(c)
		if err != nil {
			return err
		}
		start := len(b.Bytes)
		b.Bytes = t.AppendFormat(b.Bytes, "2006-01-02T15:04:05.000000Z")
		b.Header(m.name, b.Since(start))
		return nil
	}
	text, _, err := m.field.text(columns, b)
	if err != nil {
		return err
	}
	b.Header(m.name, text)
	return nil
}

func base64Bytes(s string) ([]byte, error) {
	v, err := base64.StdEncoding.DecodeString(s)
	return nonNil(v), err
}
