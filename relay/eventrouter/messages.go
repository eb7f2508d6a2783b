package eventrouter

import (
	"errors"

	"github.com/gapless/gapless/relay/connect"
	"github.com/gapless/gapless/relay/format"
)

// Messages makes records of logical messages, whose content is a JSON object with the
// fields of an outbox: what Debezium's DecodeLogicalDecodingMessageContent makes of
// them in front of its EventRouter. It is for one goroutine.
type Messages struct {
	router rows // bound to no columns
	object connect.Expander
}

// Messages binds the options. A field that is missing, or null without NullFields, is a
// fault of the message if the router reads it.
func (c Config) Messages() (*Messages, error) {
	c = c.withDefaults()
	r, err := c.router()
	if err != nil {
		return nil, err
	}
	return &Messages{router: r, object: connect.Expander{Named: true, NullAsBytes: c.NullFields}}, nil
}

// Record fills out from the content of a message, like format.Rows.
func (m *Messages) Record(p format.Position, content []byte, b *format.Buffer, out *format.Record) error {
	schema, value, err := m.object.Object(content)
	if errors.Is(err, connect.ErrTooLarge) {
		out.Reset(p)
		return unconvertible("the message", err)
	}
	if err != nil {
		out.Reset(p)
		return &format.Fault{Reason: format.BadValue, Detail: "the message is no JSON object that has a schema"}
	}
	r := m.router
	r.bind(func(name string) *column {
		c := &column{name: name, index: -1, ofMessage: true}
		for i, f := range schema.Fields {
			if f.Name == name {
				c.index, c.schema, c.content = 0, f.Schema, value.List[i]
			}
		}
		return c
	})
	return r.Record(p, nil, b, out)
}
