package eventrouter

import (
	"encoding/binary"
	"errors"
	"maps"
	"slices"
	"testing"

	"github.com/jackc/pgx/v5/pgtype"

	"github.com/gapless/gapless/relay/format"
	"github.com/gapless/gapless/relay/pgoutput"
)

var position = format.Position{Timeline: 1, Commit: 0x100, CommitTime: 1_000_000}

func table(columns map[string]uint32) *format.Table {
	t := &format.Table{Relation: &pgoutput.Relation{Namespace: []byte("public"), Name: []byte("outbox")}}
	for _, name := range []string{"id", "aggregatetype", "aggregateid", "type", "payload", "extra"} {
		if oid, ok := columns[name]; ok {
			t.Relation.Columns = append(t.Relation.Columns, pgoutput.RelationColumn{Name: []byte(name), TypeOID: oid, Modifier: -1})
		}
	}
	return t
}

var usual = map[string]uint32{"id": pgtype.UUIDOID, "aggregatetype": pgtype.VarcharOID, "aggregateid": pgtype.VarcharOID, "type": pgtype.VarcharOID, "payload": pgtype.JSONBOID}

func row(payload string) []pgoutput.Column {
	bin := func(v string) pgoutput.Column { return pgoutput.Column{Kind: pgoutput.Binary, Value: []byte(v)} }
	return []pgoutput.Column{bin("0123456789abcdef"), bin("order"), bin("k1"), bin("T"), bin("\x01" + payload)}
}

// Without options a payload of bytes is sent as it is, and so is a text.
func TestZeroConfig(t *testing.T) {
	t.Parallel()
	rows, err := Config{}.Prepare(table(usual))
	if err != nil {
		t.Fatal(err)
	}
	var b format.Buffer
	var r format.Record
	if err := rows.Record(position, row(`{"n": 1}`), &b, &r); err != nil {
		t.Fatal(err)
	}
	if r.Topic != "outbox.event.order" || string(r.Key) != "k1" || string(r.Value) != `{"n": 1}` || r.Partition != -1 || len(r.Headers) != 1 || cap(r.Headers) != 1 ||
		r.Headers[0].Key != "id" || string(r.Headers[0].Value) != "30313233-3435-3637-3839-616263646566" || r.EventID.String() != string(r.Headers[0].Value) {
		t.Errorf("record %+v", r)
	}
}

// A record in flight keeps its bytes while others are made.
func TestRecordsDoNotShareBytes(t *testing.T) {
	t.Parallel()
	rows, err := Config{ExpandJSON: true, Value: Converter{Class: JSONConverter}}.Prepare(table(usual))
	if err != nil {
		t.Fatal(err)
	}
	var b format.Buffer
	records := make([]format.Record, 3)
	for i := range records {
		if err := rows.Record(position, row(`{"n": `+string(rune('1'+i))+`}`), &b, &records[i]); err != nil {
			t.Fatal(err)
		}
	}
	for i, r := range records {
		if want := `{"n":` + string(rune('1'+i)) + `}`; string(r.Value) != want || string(r.Key) != "k1" {
			t.Errorf("record %d: key %q, value %q", i, r.Key, r.Value)
		}
	}
}

// Whatever bytes come as whatever type, the outcome is a record or a fault.
func FuzzRow(f *testing.F) {
	types := []uint32{
		pgtype.BoolOID, pgtype.ByteaOID, pgtype.Int8OID, pgtype.Int2OID, pgtype.Int4OID, pgtype.TextOID, pgtype.NumericOID, pgtype.DateOID, pgtype.TimeOID, pgtype.TimetzOID, pgtype.TimestampOID, pgtype.TimestamptzOID, pgtype.IntervalOID,
		pgtype.BitOID, pgtype.VarbitOID, oidMoney, pgtype.PointOID, pgtype.InetOID, pgtype.CIDROID, pgtype.MacaddrOID, pgtype.Int4rangeOID, pgtype.TSVectorOID, pgtype.UUIDOID, pgtype.JSONBOID, pgtype.Float4OID, pgtype.Float8OID,
		1007, 1009, 1231, 1185, 2951, 999999,
	}
	for i := range types {
		f.Add(byte(i), byte('b'), []byte{0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 23}, []byte(`{"a": [1, null]}`))
	}
	f.Add(byte(6), byte('b'), binary.BigEndian.AppendUint16([]byte{0, 1, 0, 0, 0, 0, 0, 2}, 150), []byte("[]"))
	configs := []Config{
		{Placements: []Placement{{"extra", Header, "x"}, {"extra", Envelope, "y"}}, Value: Converter{Class: JSONConverter, Schemas: true}, ExpandJSON: true},
		{Placements: []Placement{{"extra", Envelope, "y"}}, Value: Converter{Class: StringConverter}, ExpandJSON: true, Decimals: StringDecimals},
		{EventID: "extra", EventKey: "extra", RouteBy: "extra", Payload: "extra", Decimals: DoubleDecimals, Binaries: HexBinaries},
		{Timestamp: "extra", SchemaVersion: "extra", TraceContext: "extra", Placements: []Placement{{"extra", Partition, ""}}},
	}
	f.Fuzz(func(t *testing.T, oid, kind byte, value, payload []byte) {
		columns := map[string]uint32{"extra": types[int(oid)%len(types)]}
		for name, o := range usual {
			columns[name] = o
		}
		described := table(columns)
		described.Attributes = map[string]format.Attribute{"extra": {Default: string(value)}}
		for _, c := range configs {
			rows, err := c.Prepare(described)
			if err != nil {
				t.Fatal(err)
			}
			var r format.Record
			columns := append(row(string(payload)), pgoutput.Column{Kind: pgoutput.ColumnKind(kind), Value: value})
			var fault *format.Fault
			if err := rows.Record(position, columns, &format.Buffer{}, &r); err != nil && !errors.As(err, &fault) {
				t.Fatalf("%v is no fault", err)
			}
		}
	})
}

func BenchmarkRow(b *testing.B) {
	payload := `{"id":"0198c2f0-1234-7abc-8def-0123456789ab","customer_id":"c-1","currency":"USD","total_minor":12345,"items":[{"sku":"A-1","quantity":2,"price_minor":500},{"sku":"B-7","quantity":1,"price_minor":11345}],"plan":"standard","note":null}`
	for name, c := range map[string]Config{
		"plain":  {},
		"expand": {ExpandJSON: true, Value: Converter{Class: JSONConverter}},
		"schema": {ExpandJSON: true, Value: Converter{Class: JSONConverter, Schemas: true}},
	} {
		b.Run(name, func(b *testing.B) {
			rows, err := c.Prepare(table(usual))
			if err != nil {
				b.Fatal(err)
			}
			var buf format.Buffer
			var r format.Record
			columns := row(payload)
			b.ReportAllocs()
			for b.Loop() {
				buf.Reset()
				if err := rows.Record(position, columns, &buf, &r); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// The context goes out as it was stored, and no line of it can pass for what the relay
// makes of the row.
func TestTraceContextForgesNoHeader(t *testing.T) {
	t.Parallel()
	columns := map[string]uint32{"extra": pgtype.TextOID}
	maps.Copy(columns, usual)
	c := Config{TraceContext: "extra", ExtendedHeaders: true, Placements: []Placement{{Column: "type", Where: Header, Alias: "eventType"}}}
	rows, err := c.Prepare(table(columns))
	if err != nil {
		t.Fatal(err)
	}
	var b format.Buffer
	var r format.Record
	context := "#comment\ntraceparent=00-1\nid=forged\neventType=forged\n__debezium.context.taskId=7\ngapless_replay=forged\ntracestate=a=b\n"
	values := append(row("{}"), pgoutput.Column{Kind: pgoutput.Text, Value: []byte(context)})
	if err := rows.Record(position, values, &b, &r); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, h := range r.Headers {
		got = append(got, h.Key+"="+string(h.Value))
	}
	want := []string{
		"traceparent=00-1", "tracestate=a=b", "__debezium.context.connectorLogicalName=", "__debezium.context.taskId=0",
		"__debezium.context.connectorName=postgresql", "id=30313233-3435-3637-3839-616263646566", "eventType=T",
	}
	if !slices.Equal(got, want) {
		t.Errorf("headers\n%q, want\n%q", got, want)
	}
}
