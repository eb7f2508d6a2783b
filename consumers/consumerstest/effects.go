package consumerstest

import (
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/gapless/gapless/consumers"
	"github.com/gapless/gapless/contracts"
	"google.golang.org/protobuf/proto"
)

// Emitted is an outbox row.
type Emitted struct {
	ID               uuid.UUID         `db:"id"`
	AggregateType    string            `db:"aggregatetype"`
	AggregateID      string            `db:"aggregateid"`
	AggregateVersion *int64            `db:"aggregate_version"`
	Type             string            `db:"type"`
	Payload          []byte            `db:"payload"`
	Headers          map[string]string `db:"headers"`
}

// Emitted returns all rows of the outbox, in the order of their ids, which for
// one consumer is the order in which they were emitted.
func (h *Harness) Emitted() []Emitted {
	h.t.Helper()
	return query[Emitted](h, "SELECT id, aggregatetype, aggregateid, aggregate_version, type, payload, headers FROM gapless.outbox ORDER BY id")
}

// Types returns the types of the emitted events, in order.
func (h *Harness) Types() []string {
	h.t.Helper()
	var types []string
	for _, e := range h.Emitted() {
		types = append(types, e.Type)
	}
	return types
}

// Decode returns the message that e holds.
func (h *Harness) Decode(e Emitted) proto.Message {
	h.t.Helper()
	m, err := contracts.Decode(e.Headers["content-type"], e.Type, e.Payload)
	if err != nil {
		h.t.Fatalf("decode emitted event: %v", err)
	}
	return m
}

// Delivered returns e as the record that the relay makes of it, to be fed to
// another consumer's harness.
func (h *Harness) Delivered(e Emitted) *consumers.Message {
	h.t.Helper()
	var headers []consumers.Header
	for name, value := range e.Headers {
		headers = append(headers, consumers.Header{Name: name, Value: []byte(value)})
	}
	m := h.Record(e.AggregateType, e.AggregateID, e.Type, e.Payload, headers...)
	m.ID = e.ID
	for i := range m.Headers {
		if n := m.Headers[i].Name; n == "id" || n == "ce_id" {
			m.Headers[i].Value = []byte(e.ID.String())
		}
	}
	return m
}

// DeadLetter is a parked message.
type DeadLetter struct {
	EventID  uuid.UUID `db:"event_id"`
	Type     *string   `db:"type"`
	Topic    string    `db:"topic"`
	Offset   int64     `db:"offset"`
	Key      []byte    `db:"key"`
	Value    []byte    `db:"value"`
	Headers  []byte    `db:"headers"` // see consumers.DecodeHeaders
	Reason   string    `db:"reason"`
	Error    string    `db:"error"`
	Attempts int       `db:"attempts"`
	Status   string    `db:"status"`
}

// DeadLetters returns the consumer's dead letters, oldest first.
func (h *Harness) DeadLetters() []DeadLetter {
	h.t.Helper()
	return query[DeadLetter](h, `SELECT event_id, type, topic, "offset", key, value, headers, reason, error, attempts, status
		FROM gapless.dead_letter WHERE consumer = $1 ORDER BY dead_letter_id`, h.consumer.Name)
}

// Outcomes counts the consumer's inbox rows by outcome.
func (h *Harness) Outcomes() map[consumers.Outcome]int64 {
	h.t.Helper()
	type row struct {
		Outcome string `db:"outcome"`
		Count   int64  `db:"count"`
	}
	counts := map[consumers.Outcome]int64{}
	for _, r := range query[row](h, "SELECT outcome, count(*) FROM gapless.inbox WHERE consumer = $1 GROUP BY outcome", h.consumer.Name) {
		counts[consumers.Outcome(r.Outcome)] = r.Count
	}
	return counts
}

// BlockedKeys returns the consumer's blocked keys.
func (h *Harness) BlockedKeys() []string {
	h.t.Helper()
	type row struct {
		Key []byte `db:"key"`
	}
	var keys []string
	for _, r := range query[row](h, "SELECT key FROM gapless.key_block WHERE consumer = $1 ORDER BY key", h.consumer.Name) {
		keys = append(keys, string(r.Key))
	}
	return keys
}

func query[T any](h *Harness, sql string, args ...any) []T {
	h.t.Helper()
	rows, err := h.pool.Query(h.t.Context(), sql, args...)
	if err != nil {
		h.t.Fatalf("query: %v", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByName[T])
	if err != nil {
		h.t.Fatalf("query: %v", err)
	}
	return list
}
