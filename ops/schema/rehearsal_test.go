package schema_test

import (
	"crypto/rand"
	"errors"
	"strings"
	"testing"
	"testing/fstest"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/bufbuild/protocompile"

	"github.com/gapless/gapless/contracts"
	"github.com/gapless/gapless/internal/pgtest"
	"github.com/gapless/gapless/ops/schema"
)

const rehearsal = `syntax = "proto3";
package rehearsal.v1;
import "rehearsal/options.proto";
enum Speed { SPEED_UNSPECIFIED = 0; SPEED_SLOW = 1; }
enum Carrier { CARRIER_PIGEON = 0; CARRIER_SNAIL = 1; }
message Line { string sku = 1; int32 quantity = 2; }
message OrderPlaced {
  // reserved
  string order_id = 1;
  int32 count = 2;
  repeated Line lines = 3;
  Speed speed = 4;
  oneof payment { string card = 5; string invoice = 6; }
  map<string, string> labels = 7;
  // added
}
`

const options = `syntax = "proto2";
package rehearsal;
import "google/protobuf/descriptor.proto";
message Rules { optional bool required = 1; }
extend google.protobuf.FieldOptions {
  optional bool required = 50001;
  optional Rules rules = 50002;
}
`

func version(replacements ...string) fstest.MapFS {
	return fstest.MapFS{
		"rehearsal/v1/order.proto": {Data: []byte(strings.NewReplacer(replacements...).Replace(rehearsal))},
		"rehearsal/options.proto":  {Data: []byte(options)},
	}
}

// contract is under a subject that no other run of the test has.
func contract(t *testing.T) []schema.Contract {
	t.Helper()
	return []schema.Contract{{Subject: "rehearsal." + rand.Text() + "-rehearsal.v1.OrderPlaced", Message: "rehearsal.v1.OrderPlaced"}}
}

func message(t *testing.T, files fstest.MapFS) protoreflect.MessageDescriptor {
	t.Helper()
	texts := map[string]string{}
	for path, file := range files {
		texts[path] = string(file.Data)
	}
	c := protocompile.Compiler{Resolver: protocompile.WithStandardImports(&protocompile.SourceResolver{Accessor: protocompile.SourceAccessorFromMap(texts)})}
	linked, err := c.Compile(t.Context(), "rehearsal/v1/order.proto")
	if err != nil {
		t.Fatal(err)
	}
	return linked[0].Messages().ByName("OrderPlaced")
}

// Events were written before shipping_method existed. With the schema that has
// it they are still read, by a consumer and by psql.
func TestEventsWrittenBeforeAFieldExistedStillReplay(t *testing.T) {
	t.Parallel()
	pool := pgtest.NewDB(t).Pool(t)
	config := schema.Config{RegistryURL: registryURL(t), DB: pool, Contracts: contract(t), Protos: version()}
	first, err := schema.Register(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	write := func(files fstest.MapFS, id int, json string) []byte {
		m := dynamicpb.NewMessage(message(t, files))
		if err := protojson.Unmarshal([]byte(json), m); err != nil {
			t.Fatal(err)
		}
		body, err := proto.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		return append(contracts.AppendFrame(nil, contracts.SchemaID{ID: id, Index: []int{m.Descriptor().Index()}}), body...)
	}
	old := write(version(), first.Contracts[0].ID, `{"orderId":"o-1","lines":[{"sku":"A","quantity":2}]}`)

	newer := version("// added", "string shipping_method = 8;")
	config.Protos = newer
	second, err := schema.Register(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	if second.Contracts[0].Status != schema.StatusChanged || second.Contracts[0].Version != first.Contracts[0].Version+1 {
		t.Errorf("second version: %+v", second.Contracts[0])
	}
	recent := write(newer, second.Contracts[0].ID, `{"orderId":"o-2","shippingMethod":"courier"}`)

	for _, c := range []struct {
		payload []byte
		order   string
		method  any
	}{{old, "o-1", nil}, {recent, "o-2", "courier"}} {
		if got := decode(t, pool, c.payload); got["orderId"] != c.order || got["shippingMethod"] != c.method {
			t.Errorf("psql reads %v", got)
		}
		_, body, err := contracts.ParseFrame(c.payload)
		if err != nil {
			t.Fatal(err)
		}
		md := message(t, newer)
		m := dynamicpb.NewMessage(md)
		if err := proto.Unmarshal(body, m); err != nil {
			t.Fatal(err)
		}
		if got := m.Get(md.Fields().ByName("order_id")).String(); got != c.order {
			t.Errorf("a consumer reads %q", got)
		}
		if got := m.Get(md.Fields().ByName("shipping_method")).String(); got != map[any]string{nil: "", "courier": "courier"}[c.method] {
			t.Errorf("a consumer reads the method %q", got)
		}
	}
}

func TestCompare(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change []string
		before []string
		level  schema.Compatibility
		breaks string // "" means compatible
	}{
		"nothing":                         {},
		"new optional field":              {change: []string{"// added", "string shipping_method = 8;"}},
		"new required field":              {change: []string{"// added", "string shipping_method = 8 [(rehearsal.required) = true];"}, breaks: "OrderPlaced.shipping_method: is new and required"},
		"new required field by rules":     {change: []string{"// added", "string shipping_method = 8 [(rehearsal.rules).required = true];"}, breaks: "OrderPlaced.shipping_method: is new and required"},
		"option that says not required":   {change: []string{"// added", "string shipping_method = 8 [(rehearsal.rules).required = false];"}},
		"existing field becomes required": {change: []string{"order_id = 1", "order_id = 1 [(rehearsal.required) = true]"}, breaks: "OrderPlaced.order_id: becomes required"},
		"new enum with a meaning":         {change: []string{"// added", "Carrier carrier = 8;"}, breaks: "OrderPlaced.carrier: is new, and events written before would read as CARRIER_PIGEON"},
		"new optional enum":               {change: []string{"// added", "optional Carrier carrier = 8;"}},
		"new enum with unspecified":       {change: []string{"// added", "Speed other = 8;"}},
		"removed":                         {change: []string{"int32 count = 2;", ""}, breaks: "OrderPlaced.count: is removed without reserving"},
		"removed and reserved":            {change: []string{"int32 count = 2;", "", "// reserved", `reserved 2; reserved "count";`}},
		"removed, number reserved":        {change: []string{"int32 count = 2;", "", "// reserved", `reserved 2;`}, breaks: "OrderPlaced.count: is removed without reserving"},
		"reserved number taken":           {before: []string{"// reserved", "reserved 8;"}, change: []string{"// added", "string other = 8;"}, breaks: "OrderPlaced.other: takes the number 8"},
		"renumbered":                      {change: []string{"count = 2", "count = 12"}, breaks: "OrderPlaced.count: changes its number from 2 to 12"},
		"renamed":                         {change: []string{"count = 2", "amount = 2"}, breaks: "OrderPlaced.count: is renamed to amount"},
		"JSON name":                       {change: []string{"count = 2", `count = 2 [json_name = "n"]`}, breaks: "OrderPlaced.count: changes its JSON name from count to n"},
		"retyped":                         {change: []string{"int32 count", "string count"}, breaks: "OrderPlaced.count: changes its type from int32 to string"},
		"zigzag":                          {change: []string{"int32 count", "sint32 count"}, breaks: "OrderPlaced.count: changes its type from int32 to sint32"},
		"widened":                         {change: []string{"int32 count", "int64 count"}},
		"widened under full":              {change: []string{"int32 count", "int64 count"}, level: schema.Full, breaks: "OrderPlaced.count: changes its type from int32 to int64"},
		"narrowed":                        {before: []string{"int32 count", "int64 count"}, breaks: "OrderPlaced.count: changes its type from int64 to int32"},
		"repeated":                        {change: []string{"int32 count", "repeated int32 count"}, breaks: "OrderPlaced.count: changes from int32 to repeated int32"},
		"singular":                        {change: []string{"repeated Line lines", "Line lines"}, breaks: "OrderPlaced.lines: changes from repeated rehearsal.v1.Line to rehearsal.v1.Line"},
		"map value":                       {change: []string{"map<string, string>", "map<string, int32>"}, breaks: "value: changes its type from string to int32"},
		"into a oneof":                    {change: []string{"int32 count = 2;", "", "oneof payment {", "oneof payment { int32 count = 2;"}, breaks: "OrderPlaced.count: moves from the message itself to oneof payment"},
		"in a nested message":             {change: []string{"int32 quantity = 2", "string quantity = 2"}, breaks: "Line.quantity: changes its type"},
		"another message":                 {change: []string{"repeated Line lines", "repeated Rules lines", "import \"rehearsal/options.proto\";", "import \"rehearsal/options.proto\"; message Rules {}"}, breaks: "OrderPlaced.lines: changes its type from rehearsal.v1.Line to rehearsal.v1.Rules"},
		"enum value removed":              {change: []string{"SPEED_SLOW = 1;", ""}, breaks: "Speed.SPEED_SLOW: is removed"},
		"enum value renamed":              {change: []string{"SPEED_SLOW = 1;", "SPEED_LAZY = 1;"}, breaks: "Speed.SPEED_SLOW: is renamed to SPEED_LAZY"},
		"enum value renumbered":           {change: []string{"SPEED_SLOW = 1;", "SPEED_SLOW = 2;"}, breaks: "Speed.SPEED_SLOW: changes its number from 1 to 2"},
		"enum value added":                {change: []string{"SPEED_SLOW = 1;", "SPEED_SLOW = 1; SPEED_FAST = 2;"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			before, after := message(t, version(c.before...)), message(t, version(c.change...))
			var breaks []string
			for _, ch := range schema.Compare(before, after, c.level) {
				if ch.Breaking {
					breaks = append(breaks, ch.String())
					if ch.Remedy == "" {
						t.Errorf("no remedy: %s", ch)
					}
				}
			}
			got := strings.Join(breaks, "\n")
			if c.breaks == "" && got != "" || !strings.Contains(got, c.breaks) || len(breaks) > 1 {
				t.Errorf("got %q, want %q", got, c.breaks)
			}
		})
	}
}

// A new required meaning without a default is refused, with its name, before
// anything is registered.
func TestRegisterRefusesANewRequiredMeaning(t *testing.T) {
	t.Parallel()
	pool := pgtest.NewDB(t).Pool(t)
	config := schema.Config{RegistryURL: registryURL(t), DB: pool, Contracts: contract(t), Protos: version()}
	if _, err := schema.Register(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	config.Protos = version("// added", "string shipping_method = 8 [(rehearsal.required) = true];")
	_, err := schema.Register(t.Context(), config)
	incompatible, ok := errors.AsType[*schema.IncompatibleError](err)
	if !ok || incompatible.Breaks[0].Field != "shipping_method" || incompatible.Breaks[0].Remedy == "" {
		t.Fatalf("got %v", err)
	}
	var versions int
	if err := pool.QueryRow(t.Context(), "select count(*) from gapless.schema_version where subject = $1", config.Contracts[0].Subject).Scan(&versions); err != nil {
		t.Fatal(err)
	}
	if versions != 1 {
		t.Errorf("%d versions stored, want 1", versions)
	}
}
