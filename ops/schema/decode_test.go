package schema_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bufbuild/protocompile"
	"github.com/jackc/pgx/v5/pgxpool"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"
	"pgregory.net/rapid"

	"github.com/gapless/gapless/contracts"
	"github.com/gapless/gapless/contracts/gaplessv1"
	"github.com/gapless/gapless/internal/pgtest"
	"github.com/gapless/gapless/ops/schema"
)

func everything(t testing.TB) protoreflect.FileDescriptor {
	t.Helper()
	c := protocompile.Compiler{Resolver: protocompile.WithStandardImports(&protocompile.SourceResolver{ImportPaths: []string{"testdata"}})}
	files, err := c.Compile(t.Context(), "everything.proto")
	if err != nil {
		t.Fatal(err)
	}
	return files[0]
}

// store puts a schema where gapless.decode() looks for it.
func store(t testing.TB, pool *pgxpool.Pool, id int, file protoreflect.FileDescriptor) {
	t.Helper()
	types, err := schema.Flatten(file)
	if err != nil {
		t.Fatal(err)
	}
	_, err = pool.Exec(t.Context(), `
		insert into gapless.schema_version (schema_id, subject, version, message_type, definition, types)
		values ($1, $2, 1, '', '', $3)`, id, fmt.Sprintf("subject-%d", id), string(types))
	if err != nil {
		t.Fatal(err)
	}
}

func decode(t testing.TB, pool *pgxpool.Pool, payload []byte) map[string]any {
	t.Helper()
	var text string
	if err := pool.QueryRow(t.Context(), "select gapless.decode($1)::text", payload).Scan(&text); err != nil {
		t.Fatalf("decode %x: %v", payload, err)
	}
	return parse(t, text)
}

func parse(t testing.TB, text string) map[string]any {
	t.Helper()
	var v map[string]any
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("parse %s: %v", text, err)
	}
	return v
}

func TestDecodeAgreesWithProtojson(t *testing.T) {
	t.Parallel()
	pool := pgtest.NewDB(t).Pool(t)
	file := everything(t)
	store(t, pool, 7, file)
	md := file.Messages().ByName("Everything")
	g := generator{file: file}
	types := dynamicpb.NewTypes(registry(t, file))
	rapid.Check(t, func(rt *rapid.T) {
		m := g.message(rt, md, 3)
		text, err := protojson.MarshalOptions{Resolver: types}.Marshal(m)
		if err != nil {
			rt.Fatal(err)
		}
		body, err := proto.Marshal(m)
		if err != nil {
			rt.Fatal(err)
		}
		payload := append(contracts.AppendFrame(nil, contracts.SchemaID{ID: 7, Index: []int{md.Index()}}), body...)
		var got string
		if err := pool.QueryRow(t.Context(), "select gapless.decode($1)::text", payload).Scan(&got); err != nil {
			rt.Fatal(err)
		}
		if !sameJSON(parse(t, got), parse(t, string(text))) {
			rt.Fatalf("decode differs from protojson\n got %s\nwant %s", got, text)
		}
		// The digits of a number may differ; the number may not.
		back := dynamicpb.NewMessage(md)
		if err := (protojson.UnmarshalOptions{Resolver: types}).Unmarshal([]byte(got), back); err != nil {
			rt.Fatal(err)
		}
		if !proto.Equal(back, m) {
			rt.Fatalf("read back from %s:\n got %v\nwant %v", got, back, m)
		}
	})
}

// sameJSON takes two numbers for the same when they are one float32.
func sameJSON(a, b any) bool {
	switch a := a.(type) {
	case map[string]any:
		b, ok := b.(map[string]any)
		return ok && maps.EqualFunc(a, b, sameJSON)
	case []any:
		b, ok := b.([]any)
		return ok && slices.EqualFunc(a, b, sameJSON)
	case float64:
		b, ok := b.(float64)
		return ok && (a == b || float32(a) == float32(b))
	}
	return a == b
}

func TestDecodeNestedIndex(t *testing.T) {
	t.Parallel()
	pool := pgtest.NewDB(t).Pool(t)
	file := everything(t)
	store(t, pool, 1<<30, file)
	core := file.Messages().ByName("First").Messages().ByName("Inner").Messages().ByName("Core")
	m := dynamicpb.NewMessage(core)
	m.Set(core.Fields().ByName("depth"), protoreflect.ValueOfInt64(-3))
	body, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	payload := append(contracts.AppendFrame(nil, contracts.SchemaID{ID: 1 << 30, Index: []int{0, 0, 0}}), body...)
	if got := decode(t, pool, payload); got["depth"] != "-3" {
		t.Errorf("got %v", got)
	}
}

// What a canonical encoder never writes, and what is no message at all.
func TestDecodeOddBytes(t *testing.T) {
	t.Parallel()
	pool := pgtest.NewDB(t).Pool(t)
	store(t, pool, 7, everything(t))
	const header = "\x00\x00\x00\x00\x07\x02\x02" // schema 7, index 1
	for name, c := range map[string]struct{ payload, want string }{
		"empty":                      {"", `{"error":"not Protobuf in Confluent wire format"}`},
		"json":                       {`{"a":1}`, `{"error":"not Protobuf in Confluent wire format"}`},
		"unknown schema":             {"\x00\x00\x00\x00\x08\x00", `{"error":"the schema is not stored here: run gapless schema register","schema_id":8}`},
		"largest schema id":          {"\x00\xff\xff\xff\xff\x00", `{"error":"the schema is not stored here: run gapless schema register","schema_id":4294967295}`},
		"unknown index":              {"\x00\x00\x00\x00\x07\x02\x08", `{"error":"the schema has no message at index 4","schema_id":7}`},
		"index without end":          {"\x00\x00\x00\x00\x07\x02\xff", `{"error":"malformed message indexes","schema_id":7}`},
		"index count negative":       {"\x00\x00\x00\x00\x07\x01", `{"error":"malformed message indexes","schema_id":7}`},
		"no fields":                  {header, `{}`},
		"truncated varint":           {header + "\x08\xff", `{"error":"truncated at byte 9","schema_id":7,"type":"everything.Everything"}`},
		"truncated string":           {header + "\x72\x05abc", `{"error":"truncated at byte 9","schema_id":7,"type":"everything.Everything"}`},
		"truncated fixed":            {header + "\x39\x01", `{"error":"truncated at byte 8","schema_id":7,"type":"everything.Everything"}`},
		"invalid UTF-8":              {header + "\x72\x01\xff", `{"error":"invalid byte sequence for encoding \"UTF8\": 0xff","schema_id":7,"type":"everything.Everything"}`},
		"string with NUL":            {header + "\x72\x03a\x00b", `{"aString":{"base64":"YQBi"}}`},
		"field number 0":             {header + "\x00\x01", `{"error":"field number 0 at byte 7","schema_id":7,"type":"everything.Everything"}`},
		"end of no group":            {header + "\x0c", `{"error":"wire type 4 at byte 7","schema_id":7,"type":"everything.Everything"}`},
		"unknown varint":             {header + "\xa0\x06\x96\x01\xa0\x06\x01", `{"?100":["150","1"]}`},
		"unknown bytes":              {header + "\xa2\x06\x02hi", `{"?100":["aGk="]}`},
		"unknown fixed":              {header + "\xa5\x06\x01\x02\x03\x04", `{"?100":["0x04030201"]}`},
		"unknown group":              {header + "\xa3\x06\x08\x01\xa4\x06", `{"?100":["CAE="]}`},
		"known number, odd wire":     {header + "\x0d\x01\x00\x00\x00", `{"?1":["0x00000001"]}`},
		"last scalar wins":           {header + "\x08\x01\x08\x02", `{"anInt32":2}`},
		"messages merge":             {header + "\x92\x01\x03\x0a\x01a\x92\x01\x04\x12\x02\x08\x03", `{"inner":{"tag":"a","core":{"depth":"-2"}}}`},
		"last of oneof wins":         {header + "\x9a\x03\x01a\xa0\x03\x05", `{"chosenInt64":"5"}`},
		"packed though declared not": {header + "\xda\x01\x02\x01\x02", `{"looseUint64":["1","2"]}`},
		"not packed though declared": {header + "\xa8\x01\x01\xaa\x01\x02\x02\x03", `{"packedInt32":[1,2,3]}`},
		"packed torn":                {header + "\xaa\x01\x01\xff", `{"error":"truncated at byte 11","schema_id":7,"type":"everything.Everything"}`},
		"map entry without value":    {header + "\xca\x02\x03\x0a\x01k", `{"byString":{"k":"0"}}`},
		"map entry without key":      {header + "\xd2\x02\x03\x12\x01v", `{"byInt32":{"0":"v"}}`},
		"map key twice":              {header + "\xca\x02\x05\x0a\x01k\x10\x01\xca\x02\x05\x0a\x01k\x10\x02", `{"byString":{"k":"2"}}`},
		"empty packed":               {header + "\xaa\x01\x00", `{}`},
		"overlong varint":            {header + "\x08" + strings.Repeat("\xff", 11), `{"error":"truncated at byte 18","schema_id":7,"type":"everything.Everything"}`},
		"nested too deep":            {header + deep(150), `{"error":"nested deeper than 100 levels","schema_id":7,"type":"everything.Everything"}`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := decode(t, pool, []byte(c.payload)); !reflect.DeepEqual(got, parse(t, c.want)) {
				text, _ := json.Marshal(got)
				t.Errorf("decode %x:\n got %s\nwant %s", c.payload, text, c.want)
			}
		})
	}
}

// deep is field 17 (the message itself) n times inside each other.
func deep(n int) string {
	body := ""
	for range n {
		body = "\x8a\x01" + string(appendVarint(nil, uint64(len(body)))) + body
	}
	return body
}

func appendVarint(b []byte, v uint64) []byte {
	for v >= 0x80 {
		b, v = append(b, byte(v)|0x80), v>>7
	}
	return append(b, byte(v))
}

// Garbage may be garbage; it never raises.
func TestDecodeNeverRaises(t *testing.T) {
	t.Parallel()
	pool := pgtest.NewDB(t).Pool(t)
	store(t, pool, 7, everything(t))
	rapid.Check(t, func(rt *rapid.T) {
		body := rapid.SliceOfN(rapid.Byte(), 0, 80).Draw(rt, "body")
		for _, payload := range [][]byte{body, append([]byte("\x00\x00\x00\x00\x07\x02\x02"), body...)} {
			decode(t, pool, payload)
		}
	})
}

func TestDecodeIsFastEnoughForPsql(t *testing.T) {
	t.Parallel()
	pool := pgtest.NewDB(t).Pool(t)
	store(t, pool, 3, gaplessv1.File_gapless_v1_order_proto)
	payload := orderPlaced(t, 3)
	var plan string
	// Not a measurement: a hang or an accidental square would be seen.
	const rows = 200
	start := time.Now()
	if err := pool.QueryRow(t.Context(), "select max(gapless.decode($1)::text) from generate_series(1, $2)", payload, rows).Scan(&plan); err != nil {
		t.Fatal(err)
	}
	t.Logf("%s a row of OrderPlaced", time.Since(start)/rows)
	if !strings.Contains(plan, `"orderId"`) {
		t.Errorf("got %s", plan)
	}
}

func orderPlaced(t testing.TB, id int) []byte {
	t.Helper()
	m := &gaplessv1.OrderPlaced{
		OrderId: "0199c0de-0000-7000-8000-000000000001", CustomerId: "c-1", Currency: "USD", TotalMinor: 4_200,
		Items:           []*gaplessv1.Item{{Sku: "A-1", Quantity: 2, UnitPriceMinor: 1_500}, {Sku: "B-7", Quantity: 1, UnitPriceMinor: 1_200}},
		ShippingAddress: &gaplessv1.Address{Line1: "1 Main St", City: "San Francisco", PostalCode: "94107", Country: "US"},
		PaymentToken:    "tok_ok", Plan: gaplessv1.Plan_PLAN_STANDARD,
	}
	body, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	index := m.ProtoReflect().Descriptor().Index()
	return append(contracts.AppendFrame(nil, contracts.SchemaID{ID: id, Index: []int{index}}), body...)
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x00\x07\x02\x02\x08\x01"))
	f.Add([]byte("\x00\x00\x00\x00\x07\x02\x02\xca\x02\x05\x0a\x01k\x10\x01"))
	pool := pgtest.NewDB(f).Pool(f)
	store(f, pool, 7, everything(f))
	f.Fuzz(func(t *testing.T, payload []byte) {
		if len(payload) > 1<<16 {
			return // larger than what a fuzz step should take
		}
		decode(t, pool, payload)
	})
}
