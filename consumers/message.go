package consumers

import (
	"strconv"
	"time"

	"github.com/google/uuid"
)

// Header is one record header, as received.
type Header struct {
	Name  string
	Value []byte
}

// Message is one Kafka record as a handler sees it. Its slices are shared with
// the runtime and must not be changed.
type Message struct {
	// ID is the event's id: the header id, or ce_id. A foreign id that is not a
	// UUID becomes the UUIDv5 of topic and raw id; a record without any id gets
	// the UUIDv5 of its topic, partition and offset.
	ID uuid.UUID
	// Type is the outbox type: the header ce_type, "" when it is missing.
	Type string

	Topic     string
	Partition int32
	Offset    int64
	Key       []byte
	Value     []byte // nil is a tombstone
	Headers   []Header
	Timestamp time.Time
}

// Header returns the first value of that header, and "" when it is missing.
func (m *Message) Header(name string) string {
	for i := range m.Headers {
		if m.Headers[i].Name == name {
			return string(m.Headers[i].Value)
		}
	}
	return ""
}

// ContentType is the header content-type.
func (m *Message) ContentType() string { return m.Header("content-type") }

// CorrelationID is the header ce_correlationid: the saga, for its commands and
// their replies.
func (m *Message) CorrelationID() string { return m.Header("ce_correlationid") }

// StepID is the header gapless_step: the saga step's id, which a participant
// uses as its idempotency key and returns with its reply.
func (m *Message) StepID() string { return m.Header("gapless_step") }

// Replayed reports whether the relay marked the record as part of a replay.
func (m *Message) Replayed() bool { return m.Header("gapless_replay") != "" }

// idSpace is the namespace of the UUIDv5s made for records whose own id is
// missing or is no UUID.
var idSpace = uuid.MustParse("5f2b7c1e-6a0d-4d5c-9a57-0b6f6d1f3c11")

// MessageID is the id under which a record is claimed, see [Message.ID].
func MessageID(topic string, partition int32, offset int64, headers []Header) uuid.UUID {
	m := Message{Headers: headers}
	raw := m.Header("id")
	if raw == "" {
		raw = m.Header("ce_id")
	}
	if raw == "" {
		return uuid.NewSHA1(idSpace, []byte(topic+"\x00"+strconv.Itoa(int(partition))+"\x00"+strconv.FormatInt(offset, 10)))
	}
	// Only the plain form: what else uuid.Parse takes would make one UUID of
	// ids that are different strings.
	if len(raw) == 36 {
		if id, err := uuid.Parse(raw); err == nil {
			return id
		}
	}
	return uuid.NewSHA1(idSpace, []byte(topic+"\x00"+raw))
}
