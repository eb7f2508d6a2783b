package eventrouter

import (
	"fmt"
	"time"

	"github.com/gapless/gapless/relay/connect"
)

// Heartbeat makes key and value of what a Debezium connector with this ServerName and
// these converters sends as its heartbeat at a moment. An error is a converter that has
// no bytes for a structure: Connect's task dies of it.
func (c Config) Heartbeat(at time.Time) (key, value []byte, err error) {
	c = c.withDefaults()
	if key, err = c.Key.heartbeat("ServerNameKey", "serverName", connect.String, connect.Text([]byte(c.ServerName))); err != nil {
		return nil, nil, fmt.Errorf("key of a heartbeat: %w", err)
	}
	if value, err = c.Value.heartbeat("Heartbeat", "ts_ms", connect.Int64, connect.Integer(at.UnixMilli())); err != nil {
		return nil, nil, fmt.Errorf("value of a heartbeat: %w", err)
	}
	return key, value, nil
}

// heartbeat converts a structure of one field.
func (c *Converter) heartbeat(name, field string, of connect.Type, v connect.Value) ([]byte, error) {
	schema := &connect.Schema{
		Type: connect.Struct, Name: "io.debezium.connector.common." + name, Version: 1,
		Fields: []connect.Field{{Name: field, Schema: &connect.Schema{Type: of}}},
	}
	s := subject{schema: schema, value: connect.Value{Kind: connect.StructKind, List: []connect.Value{v}, Schema: schema}}
	if c.showsSchemas() {
		s.rendered = connect.AppendSchema(nil, schema)
	}
	out, _, err := c.append(nil, s)
	return out, err
}
