package format

import (
	"cmp"

	"github.com/jackc/pgx/v5/pgtype"

	"github.com/gapless/gapless/relay/pgoutput"
)

// Native is the format of gapless.outbox. Headers are sorted by name; the ones
// computed here win over the row's.
type Native struct {
	Source      string // ce_source; default /gapless
	TopicPrefix string // before the aggregate type; default outbox.event.
}

type nativeRows struct {
	source  []byte
	topics  names
	headers names

	id, aggregateType, aggregateID, version, kind, payload, rowHeaders, createdAt field
}

var specVersion = []byte("1.0")

// Prepare needs the columns of gapless.outbox, but for aggregate_version, which may be
// missing, and xid, which it does not read.
func (n Native) Prepare(t *Table) (Rows, error) {
	f, err := find(t.Relation, []string{"id", "aggregatetype", "aggregateid", "type", "payload", "headers", "created_at"}, "aggregate_version")
	if err != nil {
		return nil, err
	}
	return &nativeRows{
		source:        []byte(cmp.Or(n.Source, "/gapless")),
		topics:        newNames(cmp.Or(n.TopicPrefix, "outbox.event.")),
		headers:       newNames(""),
		id:            f["id"],
		aggregateType: f["aggregatetype"],
		aggregateID:   f["aggregateid"],
		version:       f["aggregate_version"],
		kind:          f["type"],
		payload:       f["payload"],
		rowHeaders:    f["headers"],
		createdAt:     f["created_at"],
	}, nil
}

func (n *nativeRows) Record(p Position, columns []pgoutput.Column, b *Buffer, r *Record) error {
	r.Reset(p)
	first := len(b.Headers)

	aggregateType, _, err := n.aggregateType.value(columns)
	if err != nil {
		return err
	}
	if len(aggregateType.Value) > 0 { // else there is no topic, see CheckTopic
		r.Topic = n.topics.of(aggregateType.Value)
	}
	if r.Key, _, err = n.aggregateID.text(columns, b); err != nil {
		return err
	}
	if r.Value, _, err = n.payload.text(columns, b); err != nil {
		return err
	}
	c, ok, err := n.id.value(columns)
	if err != nil {
		return err
	}
	if !ok {
		return fault(BadValue, "column %q is null", "id")
	}
	if r.EventID, err = n.id.uuid(c); err != nil {
		return err
	}
	if err := CheckTopic(r.Topic); err != nil {
		return err
	}
	if c, ok, err = n.createdAt.value(columns); err != nil {
		return err
	}
	if ok {
		if r.Timestamp, err = n.createdAt.time(c); err != nil {
			return err
		}
	}

	// In the order of their names.
	start := len(b.Bytes)
	b.Bytes = AppendUUID(b.Bytes, r.EventID)
	id := b.Since(start)
	b.Header("ce_id", id)
	sequence, ok, err := n.version.text(columns, b)
	if err != nil {
		return err
	}
	if ok {
		b.Header("ce_sequence", sequence)
	}
	b.Header("ce_source", n.source)
	b.Header("ce_specversion", specVersion)
	b.Header("ce_subject", nonNil(r.Key))
	start = len(b.Bytes)
	b.Bytes = r.Timestamp.AppendFormat(b.Bytes, "2006-01-02T15:04:05.000000Z")
	b.Header("ce_time", b.Since(start))
	kind, ok, err := n.kind.text(columns, b)
	if err != nil {
		return err
	}
	if !ok {
		return fault(BadValue, "column %q is null", "type")
	}
	b.Header("ce_type", kind)
	start = len(b.Bytes)
	b.Bytes = p.Append(b.Bytes)
	b.Header("gapless_position", b.Since(start))
	b.Header("id", id)

	if err := n.mergeRow(columns, b); err != nil {
		r.Headers = sortHeaders(b.Headers[first:])
		return err
	}
	r.Headers = sortHeaders(b.Headers[first:])
	b.Headers = b.Headers[:first+len(r.Headers)]
	r.Headers = r.Headers[:len(r.Headers):len(r.Headers)] // what follows is the next record's
	return nil
}

func (n *nativeRows) mergeRow(columns []pgoutput.Column, b *Buffer) error {
	c, ok, err := n.rowHeaders.value(columns)
	if err != nil || !ok {
		return err
	}
	text := c.Value
	if c.Kind == pgoutput.Binary && n.rowHeaders.oid == pgtype.JSONBOID {
		if len(text) == 0 || text[0] != 1 {
			return fault(BadHeader, "headers: jsonb of an unknown version")
		}
		text = text[1:]
	}
	return rowHeaders(text, &n.headers, b)
}
