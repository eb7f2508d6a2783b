package outbox

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/google/uuid"
	"google.golang.org/protobuf/proto"
)

// Limits on one event. The database holds them too, as CHECK constraints.
const (
	// MaxPayloadBytes is the largest payload, encoded.
	MaxPayloadBytes = 1 << 20
	// MaxHeadersBytes bounds the headers of one event as the JSON text that
	// Postgres makes of them: names and values with their quotes and escapes.
	MaxHeadersBytes = 16 << 10
	// MaxAggregateIDBytes bounds AggregateID, which becomes the record's key.
	MaxAggregateIDBytes = 1024
	// MaxTypeBytes bounds Type.
	MaxTypeBytes = 255
	// MaxAggregateTypeBytes bounds AggregateType: with the topic prefix it must
	// fit Kafka's 249 bytes for a topic name.
	MaxAggregateTypeBytes = 236
)

// Event is one row of the outbox.
type Event struct {
	// ID identifies the event for ever: consumers apply one id once. Zero means
	// a new UUIDv7. Give one (a UUIDv5 of a request, say) and an append that is
	// retried after an unknown outcome has one effect, though it may leave two
	// rows: uniqueness across partitions is not the outbox's.
	ID uuid.UUID
	// AggregateType names the kind of thing that changed, and with it the topic
	// outbox.event.<AggregateType>. Letters, digits, '.', '_' and '-'.
	AggregateType string
	// AggregateID is the thing that changed, and the record's key: events of
	// one key keep their order.
	AggregateID string
	// AggregateVersion is the position of the event in the aggregate's history,
	// from 1, assigned under the aggregate's row lock. 0 means none; order is
	// then not verifiable.
	AggregateVersion int64
	// Type is what happened, for example "OrderPlaced". Empty with a Message
	// means the message's short name.
	Type string
	// Message is the body as a Protobuf message; the Writer's Encoder turns it
	// into bytes. Exclusive with Payload.
	Message proto.Message
	// Payload is the body as bytes, sent as they are. nil with a nil Message is
	// a tombstone. Name its content-type in Headers.
	Payload []byte
	// Headers go out as record headers of the same names. See [Reserved] for
	// names that are not free.
	Headers map[string]string
}

// Reserved reports whether the relay itself computes the header of that name,
// so that an event may not carry it.
func Reserved(name string) bool {
	switch name {
	case "id", "ce_id", "ce_source", "ce_type", "ce_specversion", "ce_time", "ce_subject", "ce_sequence",
		"gapless_position", "gapless_replay":
		return true
	}
	return false
}

// ValidationError says which field of which event of a call is wrong.
type ValidationError struct {
	// Index of the event within the call, from 0.
	Index int
	// Field is the name of the struct field, or `Headers["name"]`.
	Field string
	// Reason is what is wrong with it, and what would be right.
	Reason string
}

func (e *ValidationError) Error() string {
	return fmt.Sprintf("outbox event %d: %s %s", e.Index, e.Field, e.Reason)
}

// validate checks everything but the encoded body.
func (e *Event) validate() error {
	bad := func(field, format string, args ...any) error {
		return &ValidationError{Field: field, Reason: fmt.Sprintf(format, args...)}
	}
	switch {
	case e.AggregateType == "":
		return bad("AggregateType", "is empty")
	case len(e.AggregateType) > MaxAggregateTypeBytes:
		return bad("AggregateType", "has %d bytes, at most %d fit a topic name", len(e.AggregateType), MaxAggregateTypeBytes)
	case strings.IndexFunc(e.AggregateType, notTopicRune) >= 0:
		return bad("AggregateType", "has a character that a topic name may not have: use letters, digits, '.', '_' and '-'")
	case e.AggregateID == "":
		return bad("AggregateID", "is empty")
	case len(e.AggregateID) > MaxAggregateIDBytes:
		return bad("AggregateID", "has %d bytes, at most %d are allowed", len(e.AggregateID), MaxAggregateIDBytes)
	case e.AggregateVersion < 0:
		return bad("AggregateVersion", "is negative; versions count from 1, 0 means none")
	case e.Type == "" && e.Message == nil:
		return bad("Type", "is empty")
	case len(e.Type) > MaxTypeBytes:
		return bad("Type", "has %d bytes, at most %d are allowed", len(e.Type), MaxTypeBytes)
	case e.Message != nil && e.Payload != nil:
		return bad("Message", "and Payload are both set; give one")
	case len(e.Payload) > MaxPayloadBytes:
		return bad("Payload", "has %d bytes, at most %d are allowed: store the body elsewhere and send its address", len(e.Payload), MaxPayloadBytes)
	}
	for _, f := range []struct{ name, value string }{{"AggregateID", e.AggregateID}, {"Type", e.Type}} {
		if why := badText(f.value); why != "" {
			return bad(f.name, "%s", why)
		}
	}
	return e.validateHeaders()
}

func (e *Event) validateHeaders() error {
	for name, value := range e.Headers {
		field := fmt.Sprintf("Headers[%q]", name)
		var why string
		switch {
		case name == "":
			why = "has an empty name"
		case strings.IndexFunc(name, notHeaderRune) >= 0:
			why = "has a name with other than printable ASCII characters"
		case Reserved(name):
			why = "is a name that the relay computes itself"
		default:
			why = badText(value)
		}
		if why != "" {
			return &ValidationError{Field: field, Reason: why}
		}
	}
	return nil
}

// validateHeadersSize counts what Postgres will: only after the encoder has
// added its own.
func (e *Event) validateHeadersSize() error {
	size := len("{}")
	for name, value := range e.Headers {
		size += quotedLen(name) + len(": ") + quotedLen(value) + len(", ")
	}
	if len(e.Headers) > 0 {
		size -= len(", ")
	}
	if size > MaxHeadersBytes {
		return &ValidationError{Field: "Headers", Reason: fmt.Sprintf("have %d bytes as JSON, at most %d are allowed", size, MaxHeadersBytes)}
	}
	return nil
}

// quotedLen is the length of s as a string of jsonb's text form.
func quotedLen(s string) int {
	n := len(s) + len(`""`)
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' || c == '\\' || c == '\b' || c == '\f' || c == '\n' || c == '\r' || c == '\t':
			n++
		case c < ' ':
			n += len(`\u0000`) - 1
		}
	}
	return n
}

func notTopicRune(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '.' && r != '_' && r != '-'
}

func notHeaderRune(r rune) bool { return r <= ' ' || r > '~' }

// badText names what Postgres would refuse in a text value.
func badText(s string) string {
	switch {
	case strings.IndexByte(s, 0) >= 0:
		return "contains a NUL, which text cannot hold"
	case !utf8.ValidString(s):
		return "is not valid UTF-8"
	}
	return ""
}

// at sets the event's index in a validation error and leaves others alone.
func at(index int, err error) error {
	if v, ok := errors.AsType[*ValidationError](err); ok {
		v.Index = index
	}
	return err
}
