package eventrouter

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgtype"

	"github.com/gapless/gapless/relay/connect"
	"github.com/gapless/gapless/relay/format"
	"github.com/gapless/gapless/relay/pgoutput"
)

// oidMoney is of pg_type.dat; the driver has no name for it.
const oidMoney = 790

// elements of the array types.
var elements = map[uint32]uint32{
	pgtype.BoolArrayOID: pgtype.BoolOID, pgtype.ByteaArrayOID: pgtype.ByteaOID, pgtype.QCharArrayOID: pgtype.QCharOID, pgtype.NameArrayOID: pgtype.NameOID, pgtype.Int2ArrayOID: pgtype.Int2OID, pgtype.Int4ArrayOID: pgtype.Int4OID, pgtype.TextArrayOID: pgtype.TextOID, pgtype.BPCharArrayOID: pgtype.BPCharOID,
	pgtype.VarcharArrayOID: pgtype.VarcharOID, pgtype.Int8ArrayOID: pgtype.Int8OID, pgtype.Float4ArrayOID: pgtype.Float4OID, pgtype.Float8ArrayOID: pgtype.Float8OID, pgtype.OIDArrayOID: pgtype.OIDOID, pgtype.MacaddrArrayOID: pgtype.MacaddrOID, pgtype.InetArrayOID: pgtype.InetOID,
	pgtype.CIDRArrayOID: pgtype.CIDROID, pgtype.TimestampArrayOID: pgtype.TimestampOID, pgtype.DateArrayOID: pgtype.DateOID, pgtype.TimeArrayOID: pgtype.TimeOID, pgtype.TimestamptzArrayOID: pgtype.TimestamptzOID, pgtype.NumericArrayOID: pgtype.NumericOID, pgtype.TimetzArrayOID: pgtype.TimetzOID,
	pgtype.JSONArrayOID: pgtype.JSONOID, pgtype.JSONBArrayOID: pgtype.JSONBOID, pgtype.UUIDArrayOID: pgtype.UUIDOID,
}

// column is one that the router reads.
type column struct {
	name     string
	index    int // in the row; -1 when the table has no such column
	oid      uint32
	modifier int32
	schema   *connect.Schema // nil: a type that Debezium leaves out
	elem     *column         // of an array
	decimals Decimals
	binaries Binaries

	ofMessage bool
	content   connect.Value // of a message's
}

// missing is the fault of a row whose table lacks the column, or has it in a type
// that is left out.
func (c *column) missing() *format.Fault {
	if c.ofMessage {
		return &format.Fault{Reason: format.MissingColumn, Detail: fmt.Sprintf("the message has no field %q, or it is null", c.name)}
	}
	return &format.Fault{Reason: format.MissingColumn, Detail: fmt.Sprintf("the table has no column %q of a known type", c.name)}
}

func (c *column) there() bool { return c.index >= 0 && c.schema != nil }

func (c *column) malformed() *format.Fault {
	return &format.Fault{Reason: format.BadValue, Detail: fmt.Sprintf("column %q: value does not fit type oid %d", c.name, c.oid)}
}

// own reads the column as the router does where it asks for a type: null is null, and not
// the column's default.
func (c *column) own(row []pgoutput.Column, scratch *[]byte) (connect.Value, error) {
	if c.there() && !c.ofMessage && c.index < len(row) && row[c.index].Kind == pgoutput.Null {
		return connect.Value{}, nil
	}
	return c.value(row, scratch)
}

// value reads the column; its default stands for null. The bytes are views of the
// row, or of scratch.
func (c *column) value(row []pgoutput.Column, scratch *[]byte) (connect.Value, error) {
	if !c.there() {
		return connect.Value{}, c.missing()
	}
	if c.ofMessage {
		return c.content, nil
	}
	if c.index >= len(row) {
		return connect.Value{}, c.malformed()
	}
	raw := row[c.index]
	switch raw.Kind {
	case pgoutput.Null:
		if c.schema.Default != nil {
			return *c.schema.Default, nil
		}
		return connect.Value{}, nil
	case pgoutput.Unchanged:
		return connect.Value{}, &format.Fault{Reason: format.BadValue, Detail: fmt.Sprintf("column %q was not sent (unchanged TOAST)", c.name)}
	case pgoutput.Text:
		return c.parse(string(raw.Value))
	}
	return c.decode(raw.Value, scratch)
}

// bind finds the column in the table.
func bind(t *format.Table, name string, cfg Config) *column {
	c := &column{name: name, index: -1, decimals: cfg.Decimals, binaries: cfg.Binaries}
	for i, rc := range t.Relation.Columns {
		if string(rc.Name) == name {
			a := t.Attributes[name]
			c.index, c.oid, c.modifier = i, rc.TypeOID, rc.Modifier
			c.define(a)
			break
		}
	}
	return c
}

// define finds the schema that Debezium gives the column.
func (c *column) define(a format.Attribute) {
	if a.BaseOID != 0 { // of a domain
		c.oid, c.modifier = a.BaseOID, a.BaseModifier
	}
	elem, elemLabels := elements[c.oid], []string(nil)
	if a.ElementOID != 0 {
		elem, elemLabels = a.ElementOID, a.ElementLabels
	}
	if elem != 0 {
		c.elem = &column{name: c.name, oid: elem, modifier: c.modifier, decimals: c.decimals, binaries: c.binaries}
		c.elem.schema = c.elem.scalar(elemLabels)
		if c.elem.schema != nil {
			c.elem.schema.Optional = elemLabels == nil
			c.schema = &connect.Schema{Type: connect.Array, Elem: c.elem.schema}
		}
	} else {
		if a.Textual {
			c.oid = pgtype.TextOID
		}
		c.schema = c.scalar(a.Labels)
	}
	if c.schema == nil {
		return
	}
	c.schema.Optional = !a.NotNull
	if a.Default != "" {
		c.schema.Default = c.defaultOf(a.Default)
	}
}

func logical(t connect.Type, name string) *connect.Schema {
	return &connect.Schema{Type: t, Name: name, Version: 1}
}

// scalar is the schema of a type that is no array; nil where Debezium has none.
func (c *column) scalar(labels []string) *connect.Schema {
	if labels != nil {
		c.oid = pgtype.TextOID
		s := logical(connect.String, "io.debezium.data.Enum")
		s.Parameters = []connect.Parameter{{Name: "allowed", Value: strings.Join(labels, ",")}}
		return s
	}
	switch c.oid {
	case pgtype.BoolOID:
		return &connect.Schema{Type: connect.Boolean}
	case pgtype.Int2OID:
		return &connect.Schema{Type: connect.Int16}
	case pgtype.Int4OID:
		return &connect.Schema{Type: connect.Int32}
	case pgtype.Int8OID, pgtype.OIDOID:
		return &connect.Schema{Type: connect.Int64}
	case pgtype.Float4OID:
		return &connect.Schema{Type: connect.Float32}
	case pgtype.Float8OID:
		return &connect.Schema{Type: connect.Float64}
	case pgtype.TextOID, pgtype.VarcharOID, pgtype.BPCharOID, pgtype.QCharOID, pgtype.NameOID, pgtype.InetOID, pgtype.CIDROID, pgtype.MacaddrOID, pgtype.Macaddr8OID, pgtype.Int4rangeOID, pgtype.Int8rangeOID:
		return &connect.Schema{Type: connect.String}
	case pgtype.UUIDOID:
		return logical(connect.String, "io.debezium.data.Uuid")
	case pgtype.JSONOID, pgtype.JSONBOID:
		return logical(connect.String, "io.debezium.data.Json")
	case pgtype.TSVectorOID:
		return logical(connect.String, "io.debezium.data.Tsvector")
	case pgtype.XMLOID:
		return logical(connect.String, "io.debezium.data.Xml")
	case pgtype.ByteaOID:
		if c.binaries != RawBinaries {
			return &connect.Schema{Type: connect.String}
		}
		return &connect.Schema{Type: connect.Bytes}
	case pgtype.DateOID:
		return logical(connect.Int32, "io.debezium.time.Date")
	case pgtype.TimeOID:
		if c.millis() {
			return logical(connect.Int32, "io.debezium.time.Time")
		}
		return logical(connect.Int64, "io.debezium.time.MicroTime")
	case pgtype.TimestampOID:
		if c.millis() {
			return logical(connect.Int64, "io.debezium.time.Timestamp")
		}
		return logical(connect.Int64, "io.debezium.time.MicroTimestamp")
	case pgtype.TimetzOID:
		return logical(connect.String, "io.debezium.time.ZonedTime")
	case pgtype.TimestamptzOID:
		return logical(connect.String, "io.debezium.time.ZonedTimestamp")
	case pgtype.IntervalOID:
		return logical(connect.Int64, "io.debezium.time.MicroDuration")
	case pgtype.BitOID, pgtype.VarbitOID:
		if c.modifier == 1 {
			return &connect.Schema{Type: connect.Boolean}
		}
		s := logical(connect.Bytes, "io.debezium.data.Bits")
		s.Parameters = []connect.Parameter{{Name: "length", Value: strconv.Itoa(int(max(c.modifier, 0)))}}
		return s
	case pgtype.NumericOID:
		return c.numericSchema()
	case oidMoney:
		return c.decimalSchema(2, 0)
	case pgtype.PointOID:
		s := logical(connect.Struct, "io.debezium.data.geometry.Point")
		s.Doc = "Geometry (POINT)"
		s.Fields = pointFields
		return s
	}
	return nil
}

var pointFields = []connect.Field{
	{Name: "x", Schema: &connect.Schema{Type: connect.Float64}},
	{Name: "y", Schema: &connect.Schema{Type: connect.Float64}},
	{Name: "wkb", Schema: &connect.Schema{Type: connect.Bytes, Optional: true}},
	{Name: "srid", Schema: &connect.Schema{Type: connect.Int32, Optional: true}},
}

// millis: up to three digits of a second are sent as milliseconds (adaptive).
func (c *column) millis() bool { return c.modifier >= 0 && c.modifier <= 3 }

// scale of numeric(p, s) is in its type modifier; ok is false without one.
func (c *column) scale() (precision, scale int32, ok bool) {
	if c.modifier < 4 {
		return 0, 0, false
	}
	m := c.modifier - 4
	// 11 bits with a sign, since 15.
	return m >> 16 & 0xffff, (m&0x7ff ^ 1024) - 1024, true
}

func (c *column) numericSchema() *connect.Schema {
	precision, scale, ok := c.scale()
	if ok || c.decimals != PreciseDecimals {
		return c.decimalSchema(scale, precision)
	}
	s := logical(connect.Struct, "io.debezium.data.VariableScaleDecimal")
	s.Doc = "Variable scaled decimal"
	s.Fields = decimalFields
	return s
}

var decimalFields = []connect.Field{
	{Name: "scale", Schema: &connect.Schema{Type: connect.Int32}},
	{Name: "value", Schema: &connect.Schema{Type: connect.Bytes}},
}

func (c *column) decimalSchema(scale, precision int32) *connect.Schema {
	switch c.decimals {
	case DoubleDecimals:
		return &connect.Schema{Type: connect.Float64}
	case StringDecimals:
		return &connect.Schema{Type: connect.String}
	}
	s := logical(connect.Bytes, connect.DecimalName)
	s.Parameters = []connect.Parameter{{Name: "scale", Value: strconv.Itoa(int(scale))}}
	if precision > 0 {
		s.Parameters = append(s.Parameters, connect.Parameter{Name: "connect.decimal.precision", Value: strconv.Itoa(int(precision))})
	}
	return s
}
