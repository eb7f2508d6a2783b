// Package participant is what every service of the order pipeline does alike:
// decode a message by its content-type, find its order, and answer a command.
//
// It holds no state and does no I/O.
package participant

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/google/uuid"
	"google.golang.org/protobuf/proto"

	"github.com/gapless/gapless/consumers"
	"github.com/gapless/gapless/contracts"
	"github.com/gapless/gapless/outbox"
)

// Reasons for which a message is parked.
const (
	Undecodable = "undecodable" // the bytes are not the message that the type names
	Invalid     = "invalid"     // the message breaks the contract in words
)

// ordered is every message of the pipeline.
type ordered interface {
	proto.Message
	GetOrderId() string
}

// Decode returns the message and the order it belongs to. Its errors are
// poison: the same bytes will not decode at the next try either.
func Decode(m *consumers.Message) (proto.Message, uuid.UUID, error) {
	body, err := contracts.Decode(m.ContentType(), m.Type, m.Value)
	if err != nil {
		return nil, uuid.Nil, consumers.Poison(Undecodable, err)
	}
	o, ok := body.(ordered)
	if !ok {
		return nil, uuid.Nil, consumers.Poison(Undecodable, fmt.Errorf("message type %q belongs to no order", m.Type))
	}
	id, err := uuid.Parse(o.GetOrderId())
	if err != nil {
		return nil, uuid.Nil, consumers.Poison(Invalid, fmt.Errorf("parse order id %q: %w", o.GetOrderId(), err))
	}
	return body, id, nil
}

// Reply is the event that answers a command: about the same order, under the
// step id the command carried, so that the saga knows what it is an answer to.
// The runtime carries over the correlation id.
func Reply(command *consumers.Message, aggregateType string, order uuid.UUID, version int64, body proto.Message) outbox.Event {
	e := outbox.Event{
		AggregateType: aggregateType, AggregateID: order.String(), AggregateVersion: version, Message: body,
	}
	if step := command.StepID(); step != "" {
		e.Headers = map[string]string{outbox.HeaderStep: step}
	}
	return e
}

// SortIDs sorts ids and drops repeats: rows are locked in one order by
// everybody, or two batches deadlock.
func SortIDs(ids []uuid.UUID) []uuid.UUID {
	slices.SortFunc(ids, func(a, b uuid.UUID) int { return bytes.Compare(a[:], b[:]) })
	return slices.Compact(ids)
}

// Raw are ids as pgx encodes them without a detour: a [uuid.UUID] is a
// driver.Valuer, and would be printed and parsed again for each row.
func Raw(ids []uuid.UUID) [][16]byte {
	raw := make([][16]byte, len(ids))
	for i := range ids {
		raw[i] = ids[i]
	}
	return raw
}
