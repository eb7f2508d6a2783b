package eventrouter

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/gapless/gapless/relay/connect"
	"github.com/gapless/gapless/relay/format"
	"github.com/gapless/gapless/relay/pgoutput"
)

// Type OIDs of pg_type.dat; they never change.
const (
	oidBool        = 16
	oidBytea       = 17
	oidChar        = 18
	oidName        = 19
	oidInt8        = 20
	oidInt2        = 21
	oidInt4        = 23
	oidText        = 25
	oidOID         = 26
	oidJSON        = 114
	oidXML         = 142
	oidPoint       = 600
	oidCIDR        = 650
	oidFloat4      = 700
	oidFloat8      = 701
	oidMacaddr8    = 774
	oidMoney       = 790
	oidMacaddr     = 829
	oidInet        = 869
	oidBPChar      = 1042
	oidVarchar     = 1043
	oidDate        = 1082
	oidTime        = 1083
	oidTimestamp   = 1114
	oidTimestamptz = 1184
	oidInterval    = 1186
	oidTimetz      = 1266
	oidBit         = 1560
	oidVarbit      = 1562
	oidNumeric     = 1700
	oidUUID        = 2950
	oidTSVector    = 3614
	oidJSONB       = 3802
	oidInt4Range   = 3904
	oidInt8Range   = 3926
)

// elements of the array types.
var elements = map[uint32]uint32{
	1000: oidBool, 1001: oidBytea, 1002: oidChar, 1003: oidName, 1005: oidInt2, 1007: oidInt4, 1009: oidText, 1014: oidBPChar,
	1015: oidVarchar, 1016: oidInt8, 1021: oidFloat4, 1022: oidFloat8, 1028: oidOID, 1040: oidMacaddr, 1041: oidInet,
	651: oidCIDR, 1115: oidTimestamp, 1182: oidDate, 1183: oidTime, 1185: oidTimestamptz, 1231: oidNumeric, 1270: oidTimetz,
	199: oidJSON, 3807: oidJSONB, 2951: oidUUID,
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
}

// missing is the fault of a row whose table lacks the column, or has it in a type
// that is left out.
func (c *column) missing() *format.Fault {
	return &format.Fault{Reason: format.MissingColumn, Detail: fmt.Sprintf("the table has no column %q of a known type", c.name)}
}

func (c *column) there() bool { return c.index >= 0 && c.schema != nil }

func (c *column) malformed() *format.Fault {
	return &format.Fault{Reason: format.BadValue, Detail: fmt.Sprintf("column %q: value does not fit type oid %d", c.name, c.oid)}
}

// value reads the column; its default stands for null. The bytes are views of the
// row, or of scratch.
func (c *column) value(row []pgoutput.Column, scratch *[]byte) (connect.Value, error) {
	if !c.there() {
		return connect.Value{}, c.missing()
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
			c.oid = oidText
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
		c.oid = oidText
		s := logical(connect.String, "io.debezium.data.Enum")
		s.Parameters = []connect.Parameter{{Name: "allowed", Value: strings.Join(labels, ",")}}
		return s
	}
	switch c.oid {
	case oidBool:
		return &connect.Schema{Type: connect.Boolean}
	case oidInt2:
		return &connect.Schema{Type: connect.Int16}
	case oidInt4:
		return &connect.Schema{Type: connect.Int32}
	case oidInt8, oidOID:
		return &connect.Schema{Type: connect.Int64}
	case oidFloat4:
		return &connect.Schema{Type: connect.Float32}
	case oidFloat8:
		return &connect.Schema{Type: connect.Float64}
	case oidText, oidVarchar, oidBPChar, oidChar, oidName, oidInet, oidCIDR, oidMacaddr, oidMacaddr8, oidInt4Range, oidInt8Range:
		return &connect.Schema{Type: connect.String}
	case oidUUID:
		return logical(connect.String, "io.debezium.data.Uuid")
	case oidJSON, oidJSONB:
		return logical(connect.String, "io.debezium.data.Json")
	case oidTSVector:
		return logical(connect.String, "io.debezium.data.Tsvector")
	case oidXML:
		return logical(connect.String, "io.debezium.data.Xml")
	case oidBytea:
		if c.binaries != RawBinaries {
			return &connect.Schema{Type: connect.String}
		}
		return &connect.Schema{Type: connect.Bytes}
	case oidDate:
		return logical(connect.Int32, "io.debezium.time.Date")
	case oidTime:
		if c.millis() {
			return logical(connect.Int32, "io.debezium.time.Time")
		}
		return logical(connect.Int64, "io.debezium.time.MicroTime")
	case oidTimestamp:
		if c.millis() {
			return logical(connect.Int64, "io.debezium.time.Timestamp")
		}
		return logical(connect.Int64, "io.debezium.time.MicroTimestamp")
	case oidTimetz:
		return logical(connect.String, "io.debezium.time.ZonedTime")
	case oidTimestamptz:
		return logical(connect.String, "io.debezium.time.ZonedTimestamp")
	case oidInterval:
		return logical(connect.Int64, "io.debezium.time.MicroDuration")
	case oidBit, oidVarbit:
		if c.modifier == 1 {
			return &connect.Schema{Type: connect.Boolean}
		}
		s := logical(connect.Bytes, "io.debezium.data.Bits")
		s.Parameters = []connect.Parameter{{Name: "length", Value: strconv.Itoa(int(max(c.modifier, 0)))}}
		return s
	case oidNumeric:
		return c.numericSchema()
	case oidMoney:
		return c.decimalSchema(2, 0)
	case oidPoint:
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
