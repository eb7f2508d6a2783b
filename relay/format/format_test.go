package format_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"go.uber.org/goleak"

	"github.com/gapless/gapless/relay/format"
	"github.com/gapless/gapless/relay/pgoutput"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func outboxRelation() *pgoutput.Relation {
	r := &pgoutput.Relation{ID: 1, Namespace: []byte("gapless"), Name: []byte("outbox")}
	for _, c := range []struct {
		name string
		oid  uint32
	}{
		{"id", 2950},
		{"aggregatetype", 25},
		{"aggregateid", 25},
		{"aggregate_version", 20},
		{"type", 25},
		{"payload", 17},
		{"headers", 3802},
		{"created_at", 1184},
		{"xid", 5069},
	} {
		r.Columns = append(r.Columns, pgoutput.RelationColumn{Name: []byte(c.name), TypeOID: c.oid})
	}
	return r
}

var (
	eventID   = uuid.MustParse("0198c2f0-1234-7abc-8def-0123456789ab")
	createdAt = time.Date(2026, 11, 23, 5, 6, 7, 89000, time.UTC)
	position  = format.Position{Timeline: 1, Commit: 0x16B3748, Index: 2, CommitTime: createdAt.Add(time.Second).UnixMicro() - 946684800_000_000}
)

func bin(v string) pgoutput.Column { return pgoutput.Column{Kind: pgoutput.Binary, Value: []byte(v)} }

func int8col(n int64) pgoutput.Column {
	return bin(string(binary.BigEndian.AppendUint64(nil, uint64(n))))
}

func outboxRow(headers string) []pgoutput.Column {
	return []pgoutput.Column{
		bin(string(eventID[:])), bin("order"), bin("o-1"), int8col(7), bin("OrderPlaced"), bin(`{"n":1}`),
		bin("\x01" + headers), int8col(createdAt.UnixMicro() - 946684800_000_000), int8col(99),
	}
}

func nativeRows(t testing.TB) format.Rows {
	t.Helper()
	rows, err := format.Native{}.Prepare(&format.Table{Relation: outboxRelation()})
	if err != nil {
		t.Fatal(err)
	}
	return rows
}

func dump(r *format.Record) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s %s %s\n", r.Topic, r.Key, r.Value, r.Timestamp.Format(time.RFC3339Nano))
	for _, h := range r.Headers {
		fmt.Fprintf(&b, "%s=%s\n", h.Key, h.Value)
	}
	return b.String()
}

func TestNativeRecord(t *testing.T) {
	t.Parallel()
	rows := nativeRows(t)
	var b format.Buffer
	var r format.Record
	row := outboxRow(`{"id": "forged", "traceparent": "00-ab-cd-01", "content-type": "application/json", "ce_causationid": "c\n1", "zz": ""}`)
	if err := rows.Record(position, row, &b, &r); err != nil {
		t.Fatal(err)
	}
	want := `outbox.event.order o-1 {"n":1} 2026-11-23T05:06:07.000089Z
ce_causationid=c
1
ce_id=0198c2f0-1234-7abc-8def-0123456789ab
ce_sequence=7
ce_source=/gapless
ce_specversion=1.0
ce_subject=o-1
ce_time=2026-11-23T05:06:07.000089Z
ce_type=OrderPlaced
content-type=application/json
gapless_position=1/0/16B3748/2
id=0198c2f0-1234-7abc-8def-0123456789ab
traceparent=00-ab-cd-01
zz=
`
	if got := dump(&r); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	if r.EventID != eventID || !r.CommitTime.Equal(createdAt.Add(time.Second)) {
		t.Errorf("event id %s, commit time %s", r.EventID, r.CommitTime)
	}

	// The stream's buffer is reused at once: the record must not move with it.
	for _, c := range row {
		clear(c.Value)
	}
	if got := dump(&r); got != want {
		t.Errorf("record changed with the row's buffer:\n%s", got)
	}
	// A second record in the same buffer leaves the first alone.
	var second format.Record
	if err := rows.Record(position, outboxRow(`{}`), &b, &second); err != nil {
		t.Fatal(err)
	}
	if got := dump(&r); got != want {
		t.Errorf("record changed with its successor:\n%s", got)
	}
}

func TestNativeNulls(t *testing.T) {
	t.Parallel()
	null := pgoutput.Column{Kind: pgoutput.Null}
	row := outboxRow(`{}`)
	row[3], row[5], row[6] = null, null, null
	var r format.Record
	if err := nativeRows(t).Record(position, row, &format.Buffer{}, &r); err != nil {
		t.Fatal(err)
	}
	if r.Value != nil {
		t.Error("a null payload is not a null value")
	}
	for _, h := range r.Headers {
		if h.Key == "ce_sequence" {
			t.Error("ce_sequence without an aggregate version")
		}
	}
	row[5] = bin("")
	if err := nativeRows(t).Record(position, row, &format.Buffer{}, &r); err != nil {
		t.Fatal(err)
	}
	if r.Value == nil {
		t.Error("an empty payload became null")
	}
}

func TestNativeFaults(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(row []pgoutput.Column)
		reason string
	}{
		"null id":             {func(r []pgoutput.Column) { r[0] = pgoutput.Column{Kind: pgoutput.Null} }, format.BadValue},
		"short id":            {func(r []pgoutput.Column) { r[0] = bin("abc") }, format.BadValue},
		"null type":           {func(r []pgoutput.Column) { r[4] = pgoutput.Column{Kind: pgoutput.Null} }, format.BadValue},
		"null aggregate type": {func(r []pgoutput.Column) { r[1] = pgoutput.Column{Kind: pgoutput.Null} }, format.BadTopic},
		"space in topic":      {func(r []pgoutput.Column) { r[1] = bin("a b") }, format.BadTopic},
		"long topic":          {func(r []pgoutput.Column) { r[1] = bin(strings.Repeat("x", 300)) }, format.BadTopic},
		"number as header":    {func(r []pgoutput.Column) { r[6] = bin("\x01" + `{"a": 1}`) }, format.BadHeader},
		"array as headers":    {func(r []pgoutput.Column) { r[6] = bin("\x01" + `[]`) }, format.BadHeader},
		"jsonb version 2":     {func(r []pgoutput.Column) { r[6] = bin("\x02{}") }, format.BadHeader},
		"unchanged payload":   {func(r []pgoutput.Column) { r[5] = pgoutput.Column{Kind: pgoutput.Unchanged} }, format.BadValue},
		"infinite time":       {func(r []pgoutput.Column) { r[7] = int8col(1<<63 - 1) }, format.BadValue},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			row := outboxRow(`{}`)
			c.change(row)
			var r format.Record
			err := nativeRows(t).Record(position, row, &format.Buffer{}, &r)
			var f *format.Fault
			if !errors.As(err, &f) || f.Reason != c.reason {
				t.Errorf("error %v, want a fault %s", err, c.reason)
			}
		})
	}
}

// After DDL the next row comes with a new Relation: columns go by name.
func TestColumnsGoByName(t *testing.T) {
	t.Parallel()
	r := outboxRelation()
	r.Columns = append([]pgoutput.RelationColumn{{Name: []byte("added"), TypeOID: 600}}, r.Columns...)
	rows, err := format.Native{}.Prepare(&format.Table{Relation: r})
	if err != nil {
		t.Fatal(err)
	}
	var rec format.Record
	row := append([]pgoutput.Column{bin("point")}, outboxRow(`{}`)...)
	if err := rows.Record(position, row, &format.Buffer{}, &rec); err != nil {
		t.Fatal(err)
	}
	if string(rec.Key) != "o-1" {
		t.Errorf("key %q", rec.Key)
	}
	for name, f := range map[string]format.Format{"payload": format.Native{}, "headers": format.Native{}} {
		r := outboxRelation()
		for i := range r.Columns {
			if string(r.Columns[i].Name) == name {
				r.Columns[i].Name = []byte("renamed")
			}
		}
		if _, err := f.Prepare(&format.Table{Relation: r}); err == nil || !strings.Contains(err.Error(), name) || !strings.Contains(err.Error(), "gapless.outbox") {
			t.Errorf("without column %s: %v, want an error that names table and column", name, err)
		}
	}
}

func TestDeadLetterKeepsTheMessage(t *testing.T) {
	t.Parallel()
	rel := &pgoutput.Relation{Namespace: []byte("gapless"), Name: []byte("dead_letter")}
	var row []pgoutput.Column
	for _, c := range []struct {
		name string
		oid  uint32
		v    pgoutput.Column
	}{
		{"dead_letter_id", 2950, bin(string(eventID[:]))},
		{"consumer", 25, bin("inventory")},
		{"generation", 23, bin("\x00\x00\x00\x02")},
		{"event_id", 2950, bin(string(eventID[:]))},
		{"topic", 25, bin("outbox.event.order")},
		{"partition", 23, bin("\x00\x00\x00\x03")},
		{"offset", 20, int8col(42)},
		{"record_timestamp", 1184, int8col(createdAt.UnixMicro() - 946684800_000_000)},
		{"key", 17, bin("\xff\x00")},
		{"value", 17, pgoutput.Column{Kind: pgoutput.Null}},
		{"headers", 3802, bin("\x01" + `[["z","AQI="],["a",null],["z",""]]`)},
		{"reason", 25, bin("undecodable")},
		{"attempts", 23, bin("\x00\x00\x00\x05")},
		{"first_failed_at", 1184, int8col(0)},
	} {
		rel.Columns = append(rel.Columns, pgoutput.RelationColumn{Name: []byte(c.name), TypeOID: c.oid})
		row = append(row, c.v)
	}
	rows, err := format.DeadLetter{}.Prepare(&format.Table{Relation: rel})
	if err != nil {
		t.Fatal(err)
	}
	var r format.Record
	if err := rows.Record(position, row, &format.Buffer{}, &r); err != nil {
		t.Fatal(err)
	}
	got := fmt.Sprintf("%s %q %v %s", r.Topic, r.Key, r.Value == nil, r.Timestamp.Format(time.RFC3339Nano))
	var headers strings.Builder
	for _, h := range r.Headers {
		fmt.Fprintf(&headers, " %s=%q", h.Key, h.Value)
		if h.Value == nil {
			headers.WriteString("(null)")
		}
	}
	got += headers.String()
	want := `dlq.gapless.inventory.g2.outbox.event.order "\xff\x00" true 2026-11-23T05:06:07.000089Z` +
		` z="\x01\x02" a=""(null) z="" gapless_dlq_id="0198c2f0-1234-7abc-8def-0123456789ab" gapless_dlq_consumer="inventory"` +
		` gapless_dlq_topic="outbox.event.order" gapless_dlq_partition="3" gapless_dlq_offset="42" gapless_dlq_reason="undecodable"` +
		` gapless_dlq_attempts="5" gapless_dlq_first_failed_at="2000-01-01T00:00:00.000000Z"`
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestNativeAllocatesNothingPerRow(t *testing.T) {
	rows := nativeRows(t)
	var b format.Buffer
	var r format.Record
	row := outboxRow(`{"traceparent": "00-ab-cd-01", "content-type": "application/json"}`)
	allocs := testing.AllocsPerRun(100, func() {
		b.Reset()
		if err := rows.Record(position, row, &b, &r); err != nil {
			t.Fatal(err)
		}
	})
	if allocs != 0 {
		t.Errorf("%v allocations a row, want 0", allocs)
	}
}

func FuzzNative(f *testing.F) {
	f.Add(eventID[:], []byte("order"), []byte("\x01{\"a\": \"b\\u00e9\"}"), []byte("12345678"), byte('b'))
	f.Add([]byte{}, []byte(" "), []byte("\x01{\"a\": [\"b\"]}"), []byte{}, byte('t'))
	rows := nativeRows(f)
	var b format.Buffer
	f.Fuzz(func(t *testing.T, id, aggregate, headers, created []byte, kind byte) {
		b.Reset()
		row := outboxRow(`{}`)
		for i, v := range map[int][]byte{0: id, 1: aggregate, 6: headers, 7: created} {
			row[i] = pgoutput.Column{Kind: pgoutput.ColumnKind(kind), Value: v}
		}
		var r format.Record
		if err := rows.Record(position, row, &b, &r); err != nil {
			var f *format.Fault
			if !errors.As(err, &f) {
				t.Fatalf("%v is no fault", err)
			}
			return
		}
		if cap(r.Headers) > len(r.Headers) {
			t.Fatal("the memory behind the headers is the next record's: a hook that appends would write there")
		}
		for i := 1; i < len(r.Headers); i++ {
			if r.Headers[i-1].Key >= r.Headers[i].Key {
				t.Fatalf("headers %q and %q are not in order", r.Headers[i-1].Key, r.Headers[i].Key)
			}
		}
	})
}

func FuzzDeadLetterHeaders(f *testing.F) {
	f.Add([]byte("\x01" + `[["a","AQ=="],["b",null]]`))
	rel := &pgoutput.Relation{}
	for name, oid := range map[string]uint32{"dead_letter_id": 2950, "consumer": 25, "topic": 25, "key": 17, "value": 17, "headers": 3802} {
		rel.Columns = append(rel.Columns, pgoutput.RelationColumn{Name: []byte(name), TypeOID: oid})
	}
	rows, err := format.DeadLetter{}.Prepare(&format.Table{Relation: rel})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, headers []byte) {
		var row []pgoutput.Column
		for _, c := range rel.Columns {
			switch string(c.Name) {
			case "headers":
				row = append(row, bin(string(headers)))
			case "dead_letter_id":
				row = append(row, bin(string(eventID[:])))
			default:
				row = append(row, bin("x"))
			}
		}
		var r format.Record
		_ = rows.Record(position, row, &format.Buffer{}, &r)
	})
}

// The first record of a buffer is as any other: what is empty is not null.
func TestEmptyIsNotNullInAFreshBuffer(t *testing.T) {
	var fresh format.Buffer
	if got := fresh.Copy([]byte{}); got == nil {
		t.Error("a copy of an empty value is null")
	}
	if got := fresh.Copy(nil); got != nil {
		t.Errorf("a copy of null is %q", got)
	}
	if got := fresh.Since(0); got == nil {
		t.Error("nothing appended is null")
	}
}

func ExampleNative() {
	rows, _ := format.Native{Source: "/shop"}.Prepare(&format.Table{Relation: outboxRelation()})
	var b format.Buffer // shared by the records of a batch
	var r format.Record
	_ = rows.Record(position, outboxRow(`{"content-type": "application/json"}`), &b, &r)
	fmt.Println(r.Topic, string(r.Key), string(r.Value), len(r.Headers))
	// Output: outbox.event.order o-1 {"n":1} 10
}

func BenchmarkNative(b *testing.B) {
	rows := nativeRows(b)
	var buf format.Buffer
	var r format.Record
	row := outboxRow(`{"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "content-type": "application/json"}`)
	for b.Loop() {
		buf.Reset()
		_ = rows.Record(position, row, &buf, &r)
	}
}
