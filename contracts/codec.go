package contracts

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/gapless/gapless/sql"
)

// Content types of a payload.
const (
	JSON     = "application/json"
	Protobuf = "application/protobuf"
)

// Codec encodes messages: as Confluent-framed Protobuf where it knows the
// schema id, else as JSON if it was made by [NewJSON]. It is immutable and safe
// for concurrent use, and satisfies outbox.Encoder.
type Codec struct {
	framed bool
	ids    map[string]SchemaID // by subject
}

// SchemaID is what the registry gave a subject.
type SchemaID struct {
	ID    int
	Index []int // path of the message within its file
}

// NewJSON returns a Codec that writes JSON.
func NewJSON() *Codec { return &Codec{} }

// NewProtobuf returns a Codec that writes Confluent-framed Protobuf with these
// ids, by subject.
func NewProtobuf(ids map[string]SchemaID) *Codec { return &Codec{framed: true, ids: ids} }

// Querier is what Load needs of a connection, pool or transaction.
type Querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}

// Load reads the newest registered id of every subject and returns a Protobuf
// Codec. It fails when a contract of the catalogue is not registered, naming
// it: run gapless schema register.
func Load(ctx context.Context, db Querier) (*Codec, error) {
	rows, err := db.Query(ctx, sql.SchemaIDs)
	if err != nil {
		return nil, fmt.Errorf("read schema ids: %w", err)
	}
	ids := make(map[string]SchemaID)
	var subject string
	var id SchemaID
	var index []int32
	_, err = pgx.ForEachRow(rows, []any{&subject, &id.ID, &index}, func() error {
		path := make([]int, len(index))
		for i, n := range index {
			path[i] = int(n)
		}
		ids[subject] = SchemaID{ID: id.ID, Index: path}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read schema ids: %w", err)
	}
	for _, c := range Catalogue() {
		if _, ok := ids[c.Subject()]; !ok {
			return nil, fmt.Errorf("schema of %s is not registered (subject %s): run 'gapless schema register', or use --encoding json", c.Type(), c.Subject())
		}
	}
	return NewProtobuf(ids), nil
}

// Encode returns the payload of m, its content-type, and its schema's URI
// ("urn:gapless:schema:<id>", or "" for JSON).
func (c *Codec) Encode(aggregateType string, m proto.Message) (payload []byte, contentType, dataSchema string, err error) {
	if !c.framed {
		text, err := protojson.Marshal(m)
		if err != nil {
			return nil, "", "", fmt.Errorf("encode %s: %w", m.ProtoReflect().Descriptor().Name(), err)
		}
		var compact bytes.Buffer // protojson varies its white space on purpose
		if err := json.Compact(&compact, text); err != nil {
			return nil, "", "", fmt.Errorf("encode %s: %w", m.ProtoReflect().Descriptor().Name(), err)
		}
		return compact.Bytes(), JSON, "", nil
	}
	subject := Contract{AggregateType: aggregateType, Message: m}.Subject()
	id, ok := c.ids[subject]
	if !ok {
		return nil, "", "", fmt.Errorf("no schema id for subject %s: run 'gapless schema register'", subject)
	}
	payload = AppendFrame(make([]byte, 0, 8+proto.Size(m)), id)
	payload, err = proto.MarshalOptions{Deterministic: true}.MarshalAppend(payload, m)
	if err != nil {
		return nil, "", "", fmt.Errorf("encode %s: %w", m.ProtoReflect().Descriptor().Name(), err)
	}
	return payload, Protobuf, fmt.Sprintf("urn:gapless:schema:%d", id.ID), nil
}

// DecodeError says why a payload is not a message. Trying again does not help.
type DecodeError struct {
	Type   string
	Reason string
}

func (e *DecodeError) Error() string { return fmt.Sprintf("decode %q: %s", e.Type, e.Reason) }

// Decode returns the message of that outbox type. contentType decides how:
// [Protobuf] or [JSON], in any case and with any parameters (RFC 9110, 8.3.1);
// empty means JSON if the payload starts with '{', else Protobuf. Unknown fields are kept (Protobuf) or passed over (JSON), so that an
// older program reads a newer event.
//
// Errors are of type [*DecodeError].
func Decode(contentType, typ string, payload []byte) (proto.Message, error) {
	mt, err := protoregistry.GlobalTypes.FindMessageByName(protoreflect.FullName("gapless.v1." + typ))
	if err != nil {
		return nil, &DecodeError{typ, "unknown message type"}
	}
	m := mt.New().Interface()
	if err := Unmarshal(contentType, payload, m); err != nil {
		return nil, err
	}
	return m, nil
}

// Unmarshal is [Decode] into a message that the caller has. m is reset first.
func Unmarshal(contentType string, payload []byte, m proto.Message) error {
	typ := string(m.ProtoReflect().Descriptor().Name())
	media, _, _ := strings.Cut(contentType, ";")
	media = strings.ToLower(strings.TrimSpace(media))
	if media == "" {
		if media = Protobuf; len(payload) > 0 && payload[0] == '{' {
			media = JSON
		}
	}
	switch media {
	case JSON:
		if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(payload, m); err != nil {
			return &DecodeError{typ, err.Error()}
		}
	case Protobuf:
		_, body, err := ParseFrame(payload)
		if err != nil {
			return &DecodeError{typ, err.Error()}
		}
		if err := proto.Unmarshal(body, m); err != nil {
			return &DecodeError{typ, err.Error()}
		}
	default:
		return &DecodeError{typ, fmt.Sprintf("content-type %q is neither %s nor %s", contentType, Protobuf, JSON)}
	}
	return nil
}
