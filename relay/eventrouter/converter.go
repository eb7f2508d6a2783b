package eventrouter

import (
	"errors"
	"fmt"

	"github.com/gapless/gapless/relay/connect"
	"github.com/gapless/gapless/relay/format"
)

// subject is what a converter gets: a value with its schema, or an expanded payload.
type subject struct {
	schema   *connect.Schema // nil: untyped
	rendered []byte          // the schema as JsonConverter writes it, where a converter shows it
	value    connect.Value
	expanded *connect.Expander
}

func unconvertible(what string, err error) *format.Fault {
	reason := format.Unconvertible
	if errors.Is(err, connect.ErrTooLarge) {
		reason = format.TooLarge
	}
	return &format.Fault{Reason: reason, Detail: fmt.Sprintf("%s: %v", what, err)}
}

var (
	errNoDelegate = errors.New("it is no bytes, and BinaryDataConverter has no delegate.converter.type")
	errOnlyBytes  = errors.New("it is no bytes, and ByteArrayConverter takes nothing else")
)

func (c *Converter) showsSchemas() bool {
	for ; c != nil; c = c.Delegate {
		if c.Class == JSONConverter && c.Schemas {
			return true
		}
	}
	return false
}

// append appends the subject's bytes. null tells that there are none at all, not even
// an empty text.
func (c *Converter) append(b []byte, s subject) (out []byte, null bool, err error) {
	switch c.Class {
	case StringConverter:
		switch {
		case s.expanded != nil:
			out, err = s.expanded.AppendString(b)
			return out, false, err
		case s.value.IsNull():
			return b, true, nil
		}
		return connect.AppendString(b, s.schema, s.value), false, nil
	case SimpleConverter:
		if s.value.IsNull() {
			return b, true, nil
		}
		return connect.AppendSimple(b, s.schema, s.value), false, nil
	case JSONConverter:
		out, err = c.json(b, s)
		return out, false, err
	}
	typed := s.expanded != nil || s.schema != nil && s.schema.Type != connect.Bytes
	switch {
	case !typed && s.value.IsNull():
		return b, true, nil
	case !typed && (s.value.Kind == connect.BytesKind || s.value.Kind == connect.ArrayKind):
		return append(b, s.value.Text...), false, nil
	case c.Class == BytesConverter:
		return b, false, errOnlyBytes
	case c.Delegate == nil:
		return b, false, errNoDelegate
	}
	return c.Delegate.append(b, s)
}

func (c *Converter) json(b []byte, s subject) ([]byte, error) {
	if c.Schemas {
		b = append(b, `{"schema":`...)
		switch {
		case s.expanded != nil:
			b = s.expanded.AppendSchema(b)
		case s.schema == nil:
			b = append(b, "null"...)
		default:
			b = append(b, s.rendered...)
		}
		b = append(b, `,"payload":`...)
	}
	b, err := c.jsonValue(b, s)
	if c.Schemas {
		b = append(b, '}')
	}
	return b, err
}

func (c *Converter) jsonValue(b []byte, s subject) ([]byte, error) {
	if s.expanded != nil {
		return s.expanded.AppendJSON(b)
	}
	schema := s.schema
	if schema == nil {
		schema = untyped
	}
	return connect.JSON{NumericDecimals: c.NumericDecimals}.Append(b, schema, s.value)
}

// untyped takes text and null.
var untyped = &connect.Schema{Type: connect.String, Optional: true}
