package consumers

import (
	"encoding/base64"
	"encoding/json"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/gapless/gapless/internal/pgtext"
)

// messageOf turns a record into a message that shares its bytes.
func messageOf(r *kgo.Record) *Message {
	m := &Message{
		Topic: r.Topic, Partition: r.Partition, Offset: r.Offset,
		Key: r.Key, Value: r.Value, Timestamp: r.Timestamp,
	}
	if len(r.Headers) > 0 {
		m.Headers = make([]Header, len(r.Headers))
		for i, h := range r.Headers {
			m.Headers[i] = Header{Name: h.Key, Value: h.Value}
		}
	}
	m.complete()
	return m
}

// complete fills ID and Type from the headers where they are unset.
func (m *Message) complete() {
	if m.Type == "" {
		m.Type = m.Header("ce_type")
	}
	var none [16]byte
	if m.ID == none {
		m.ID = MessageID(m.Topic, m.Partition, m.Offset, m.Headers)
	}
}

// encodeHeaders is the form in which headers are stored: an ordered array of
// [name, base64 or null], because jsonb cannot hold the bytes themselves and an
// object would lose order and repeats.
func encodeHeaders(headers []Header) string {
	pairs := make([][2]*string, len(headers))
	for i, h := range headers {
		name := pgtext.Clean(h.Name)
		pairs[i][0] = &name
		if h.Value != nil {
			value := base64.StdEncoding.EncodeToString(h.Value)
			pairs[i][1] = &value
		}
	}
	b, err := json.Marshal(pairs)
	if err != nil {
		panic("encode strings as JSON: " + err.Error())
	}
	return string(b)
}

// DecodeHeaders is the inverse of the form in which dead_letter and
// key_block_message keep headers: an ordered array of [name, base64 or null].
func DecodeHeaders(stored []byte) ([]Header, error) {
	var pairs [][]*string
	if err := json.Unmarshal(stored, &pairs); err != nil {
		return nil, &headersError{err.Error()}
	}
	headers := make([]Header, len(pairs))
	for i, p := range pairs {
		if len(p) != 2 || p[0] == nil {
			return nil, &headersError{"an entry is not a [name, value] pair"}
		}
		headers[i].Name = *p[0]
		if p[1] == nil {
			continue
		}
		value, err := base64.StdEncoding.DecodeString(*p[1])
		if err != nil {
			return nil, &headersError{err.Error()}
		}
		headers[i].Value = value
	}
	return headers, nil
}

type headersError struct{ reason string }

func (e *headersError) Error() string { return "decode stored headers: " + e.reason }

// id is an event id as pgx sends it in every QueryExecMode, and without the
// detour through text that a uuid.UUID takes: that one is a driver.Valuer.
func id(u uuid.UUID) pgtype.UUID { return pgtype.UUID{Bytes: u, Valid: true} }

// stamp makes a record's timestamp, any 64 bits of milliseconds, fit a Postgres
// timestamptz.
func stamp(t time.Time) time.Time {
	switch year := t.UTC().Year(); {
	case year < 1:
		return time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC)
	case year > 9999:
		return time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)
	}
	return t
}

// nullText is text, with the empty string as NULL.
func nullText(s string) *string {
	if s == "" {
		return nil
	}
	s = pgtext.Clean(s)
	return &s
}
