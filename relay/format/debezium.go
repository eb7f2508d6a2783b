package format

import (
	"cmp"

	"github.com/gapless/gapless/relay/pgoutput"
)

// Debezium is EventRouter with its defaults and string converters: topic
// outbox.event.<aggregatetype>, key aggregateid, value payload, header id.
// A bytea payload is sent as it is, what EventRouter does with its binary
// converter. The record's timestamp is the commit's: EventRouter's default is
// the connector's clock, which a resend could not repeat.
//
// EventRouter's options become fields here; their zero value is its default.
type Debezium struct {
	TopicPrefix string // default outbox.event.
}

type debeziumRows struct {
	topics                                  names
	scratch                                 Buffer
	id, aggregateType, aggregateID, payload field
}

// Prepare needs id, aggregatetype, aggregateid and payload. EventRouter asks
// for type as well but never reads it.
func (d Debezium) Prepare(r *pgoutput.Relation) (Rows, error) {
	f, err := find(r, []string{"id", "aggregatetype", "aggregateid", "payload"})
	if err != nil {
		return nil, err
	}
	return &debeziumRows{
		topics:        newNames(cmp.Or(d.TopicPrefix, "outbox.event.")),
		id:            f["id"],
		aggregateType: f["aggregatetype"],
		aggregateID:   f["aggregateid"],
		payload:       f["payload"],
	}, nil
}

func (d *debeziumRows) Record(p Position, columns []pgoutput.Column, b *Buffer, r *Record) error {
	r.reset(p)
	first := len(b.Headers)

	d.scratch.Reset()
	routed, ok, err := d.aggregateType.text(columns, &d.scratch)
	if err != nil {
		return err
	}
	if ok {
		r.Topic = d.topics.of(routed)
	}
	if r.Key, _, err = d.aggregateID.text(columns, b); err != nil {
		return err
	}
	if r.Value, _, err = d.payload.text(columns, b); err != nil {
		return err
	}
	if err := checkTopic(r.Topic); err != nil {
		return err
	}
	id, ok, err := d.id.text(columns, b)
	if err != nil {
		return err
	}
	if !ok {
		return fault(BadValue, "column %q is null", "id")
	}
	if c, _, _ := d.id.value(columns); d.id.oid == oidUUID {
		if r.EventID, err = d.id.uuid(c); err != nil {
			return err
		}
	}
	b.header("id", id)
	r.Headers = b.Headers[first:len(b.Headers):len(b.Headers)]
	return nil
}
