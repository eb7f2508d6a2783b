package contracts_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/gapless/gapless/contracts"
	"github.com/gapless/gapless/contracts/gaplessv1"
	"github.com/gapless/gapless/internal/pgtest"
)

// The bytes that a serializer of Confluent's writes: magic byte, id, indexes.
func TestFrame(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		id     contracts.SchemaID
		header string
	}{
		{contracts.SchemaID{ID: 1, Index: []int{0}}, "000000000100"},
		{contracts.SchemaID{ID: 42, Index: []int{2}}, "000000002a0204"},
		{contracts.SchemaID{ID: 1 << 24, Index: []int{0, 0}}, "0001000000040000"},
		{contracts.SchemaID{ID: 0x7fffffff, Index: []int{1, 0, 64}}, "007fffffff0602008001"},
	} {
		got := contracts.AppendFrame(nil, c.id)
		if hex.EncodeToString(got) != c.header {
			t.Errorf("%+v: %x, want %s", c.id, got, c.header)
		}
		id, body, err := contracts.ParseFrame(append(got, "body"...))
		if err != nil || id.ID != c.id.ID || !slices.Equal(id.Index, c.id.Index) || string(body) != "body" {
			t.Errorf("%+v: back %+v %q %v", c.id, id, body, err)
		}
	}
	// The long form of [0] is read, too.
	if id, body, err := contracts.ParseFrame([]byte("\x00\x00\x00\x00\x01\x02\x00x")); err != nil || !slices.Equal(id.Index, []int{0}) || string(body) != "x" {
		t.Errorf("long form: %+v %q %v", id, body, err)
	}
	for _, bad := range []string{"", "{}", "\x00\x00\x00\x00\x01", "\x01\x00\x00\x00\x01\x00", "\x00\x00\x00\x00\x01\x01", "\x00\x00\x00\x00\x01\x7e", "\x00\x00\x00\x00\x01\x02", "\x00\x00\x00\x00\x01\x02\x01", "\x00\x00\x00\x00\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"} {
		if id, _, err := contracts.ParseFrame([]byte(bad)); err == nil {
			t.Errorf("%q was taken for %+v", bad, id)
		}
	}
}

// Golden bytes: what was written stays readable, and is still written so.
func TestGoldenPayload(t *testing.T) {
	t.Parallel()
	m := &gaplessv1.OrderConfirmed{OrderId: "o-1", CustomerId: "c-1", Currency: "USD", TotalMinor: 4200, Plan: gaplessv1.Plan_PLAN_STANDARD}
	subject := contracts.Contract{AggregateType: contracts.Order, Message: m}.Subject()
	if want := "outbox.event.order-gapless.v1.OrderConfirmed"; subject != want {
		t.Errorf("subject %s, want %s", subject, want)
	}
	codec := contracts.NewProtobuf(map[string]contracts.SchemaID{subject: {ID: 7, Index: []int{4}}})
	for _, c := range []struct {
		codec                         *contracts.Codec
		want, contentType, dataSchema string
	}{
		{codec, "00000000070208" + "0a036f2d31" + "1203632d31" + "1a03555344" + "20e820" + "3001", contracts.Protobuf, "urn:gapless:schema:7"},
		{contracts.NewJSON(), hex.EncodeToString([]byte(`{"orderId":"o-1","customerId":"c-1","currency":"USD","totalMinor":"4200","plan":"PLAN_STANDARD"}`)), contracts.JSON, ""},
	} {
		payload, contentType, dataSchema, err := c.codec.Encode(contracts.Order, m)
		if err != nil || contentType != c.contentType || dataSchema != c.dataSchema || hex.EncodeToString(payload) != c.want {
			t.Errorf("payload %x, %s, %s, %v, want %s", payload, contentType, dataSchema, err, c.want)
		}
		back, err := contracts.Decode(contentType, "OrderConfirmed", payload)
		if err != nil || !proto.Equal(back, m) {
			t.Errorf("back %v, %v", back, err)
		}
	}
	if _, _, _, err := codec.Encode(contracts.Stock, m); err == nil || !strings.Contains(err.Error(), "schema register") {
		t.Errorf("an unknown subject: %v", err)
	}
}

func TestDecode(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ contentType, typ, payload, failure string }{
		"json":                       {contracts.JSON, "OrderPlaced", `{"orderId":"o-1"}`, ""},
		"json with parameters":       {"Application/JSON; charset=utf-8", "OrderPlaced", `{"orderId":"o-1"}`, ""},
		"no content-type, json":      {"", "OrderPlaced", `{"orderId":"o-1"}`, ""},
		"no content-type, protobuf":  {"", "OrderPlaced", "\x00\x00\x00\x00\x01\x04\x04\x00\x0a\x03o-1", ""},
		"an older reader, json":      {contracts.JSON, "OrderPlaced", `{"orderId":"o-1","shippingMethod":"courier"}`, ""},
		"an older reader, protobuf":  {contracts.Protobuf, "OrderPlaced", "\x00\x00\x00\x00\x01\x00\x0a\x03o-1\xfa\x06\x01x", ""},
		"unknown type":               {contracts.JSON, "OrderEaten", `{}`, "unknown message type"},
		"no type":                    {contracts.JSON, "", `{}`, "unknown message type"},
		"a type of another package":  {contracts.JSON, "../google.protobuf.Any", `{}`, "unknown message type"},
		"unknown content-type":       {"application/xml", "OrderPlaced", `<a/>`, "is neither"},
		"json that is none":          {contracts.JSON, "OrderPlaced", `{"orderId":`, "unexpected"},
		"json of another type":       {contracts.JSON, "OrderPlaced", `{"orderId":7}`, "orderId"},
		"tombstone":                  {contracts.Protobuf, "OrderPlaced", "", "shorter"},
		"protobuf without a frame":   {contracts.Protobuf, "OrderPlaced", "\x0a\x03o-1o-1", "zero byte"},
		"protobuf that is truncated": {contracts.Protobuf, "OrderPlaced", "\x00\x00\x00\x00\x01\x00\x0a\x09o-1", "proto:"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m, err := contracts.Decode(c.contentType, c.typ, []byte(c.payload))
			if c.failure == "" {
				if err != nil || m.(*gaplessv1.OrderPlaced).GetOrderId() != "o-1" {
					t.Errorf("got %v, %v", m, err)
				}
				return
			}
			if _, ok := errors.AsType[*contracts.DecodeError](err); !ok || !strings.Contains(err.Error(), c.failure) {
				t.Errorf("got %v, want %q", err, c.failure)
			}
		})
	}
}

// A message in a .proto file that is no part of another one is a contract, and
// the other way round.
func TestCatalogueIsComplete(t *testing.T) {
	t.Parallel()
	parts := map[protoreflect.FullName]bool{}
	var all []protoreflect.FullName
	protoregistry.GlobalFiles.RangeFilesByPackage("gapless.v1", func(file protoreflect.FileDescriptor) bool {
		for i := range file.Messages().Len() {
			m := file.Messages().Get(i)
			all = append(all, m.FullName())
			for j := range m.Fields().Len() {
				if part := m.Fields().Get(j).Message(); part != nil {
					parts[part.FullName()] = true
				}
			}
		}
		return true
	})
	listed := map[protoreflect.FullName]string{}
	for _, c := range contracts.Catalogue() {
		name := protoreflect.FullName(c.FullName())
		if topic, twice := listed[name]; twice {
			t.Errorf("%s is on %s and %s", name, topic, c.AggregateType)
		}
		listed[name] = c.AggregateType
		if c.Message.ProtoReflect().Descriptor().Fields().ByNumber(1).Name() != "order_id" {
			t.Errorf("%s: field 1 is not order_id", name)
		}
	}
	for _, name := range all {
		if _, ok := listed[name]; ok == parts[name] {
			t.Errorf("%s: contract %v, part of another %v", name, ok, parts[name])
		}
	}
}

// The texts that are registered are the ones that the code was generated from.
func TestProtoFilesAreTheGeneratedOnes(t *testing.T) {
	t.Parallel()
	var paths []string
	err := fs.WalkDir(contracts.ProtoFS, "proto", func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			paths = append(paths, strings.TrimPrefix(path, "proto/"))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		file, err := protoregistry.GlobalFiles.FindFileByPath(path)
		if err != nil {
			t.Errorf("%s: no generated code: %v", path, err)
			continue
		}
		text, err := fs.ReadFile(contracts.ProtoFS, "proto/"+path)
		if err != nil {
			t.Fatal(err)
		}
		for i := range file.Messages().Len() {
			m := file.Messages().Get(i)
			if !bytes.Contains(text, fmt.Appendf(nil, "message %s {", m.Name())) {
				t.Errorf("%s: generated %s is not in the file", path, m.Name())
			}
			for j := range m.Fields().Len() {
				if f := m.Fields().Get(j); !bytes.Contains(text, fmt.Appendf(nil, "%s = %d;", f.Name(), f.Number())) {
					t.Errorf("%s: generated %s is not in the file", path, f.FullName())
				}
			}
		}
	}
	if len(paths) != 3 {
		t.Errorf("%d files", len(paths))
	}
}

func TestTopics(t *testing.T) {
	t.Parallel()
	want := []string{
		"outbox.event.order", "outbox.event.stock", "outbox.event.payment", "outbox.event.shipment",
		"outbox.event.inventory.command", "outbox.event.payment.command", "outbox.event.fulfillment.command", "outbox.event.saga.command",
	}
	if got := contracts.Topics(); !slices.Equal(got, want) {
		t.Errorf("topics %v", got)
	}
	if got := contracts.DeadLetterTopic(contracts.Group("payment", 1), want[5]); got != "dlq.gapless.payment.outbox.event.payment.command" {
		t.Error(got)
	}
	if got := contracts.Group("analytics", 3); got != "gapless.analytics.g3" {
		t.Error(got)
	}
	if got := contracts.ShortName("gapless.v1.OrderPlaced"); got != "OrderPlaced" {
		t.Error(got)
	}
}

func TestLoadNamesWhatIsNotRegistered(t *testing.T) {
	t.Parallel()
	pool := pgtest.NewDB(t).LoginPool(t, pgtest.App)
	if _, err := contracts.Load(t.Context(), pool); err == nil || !strings.Contains(err.Error(), "OrderPlaced") || !strings.Contains(err.Error(), "schema register") {
		t.Errorf("got %v", err)
	}
}

func FuzzParseFrame(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x00\x01\x00body"))
	f.Add([]byte("\x00\x7f\xff\xff\xff\x06\x02\x00\x80\x01"))
	f.Fuzz(func(t *testing.T, payload []byte) {
		id, body, err := contracts.ParseFrame(payload)
		if err != nil {
			return
		}
		again, rest, err := contracts.ParseFrame(append(contracts.AppendFrame(nil, id), body...))
		if err != nil || again.ID != id.ID || !slices.Equal(again.Index, id.Index) || !bytes.Equal(rest, body) {
			t.Errorf("%+v became %+v, %v", id, again, err)
		}
	})
}

func FuzzDecode(f *testing.F) {
	f.Add(contracts.JSON, "OrderPlaced", []byte(`{"orderId":"o-1","items":[{"sku":"A"}]}`))
	f.Add(contracts.Protobuf, "StockRejected", []byte("\x00\x00\x00\x00\x01\x00\x0a\x03o-1"))
	f.Add("", "", []byte(nil))
	f.Fuzz(func(t *testing.T, contentType, typ string, payload []byte) {
		m, err := contracts.Decode(contentType, typ, payload)
		if err != nil {
			if _, ok := errors.AsType[*contracts.DecodeError](err); !ok {
				t.Errorf("%T: %v", err, err)
			}
			return
		}
		text, _, _, err := contracts.NewJSON().Encode("order", m)
		if err != nil {
			return // protojson refuses a Timestamp out of range, which the wire holds
		}
		if back, err := contracts.Decode(contracts.JSON, typ, text); err != nil {
			t.Errorf("%s: %v, %v", text, back, err)
		}
	})
}

func ExampleDecode() {
	m, err := contracts.Decode(contracts.JSON, "OrderPlaced", []byte(`{"orderId":"o-1","totalMinor":"4200"}`))
	fmt.Println(m.(*gaplessv1.OrderPlaced).GetTotalMinor(), err)
	_, err = contracts.Decode(contracts.JSON, "OrderEaten", []byte(`{}`))
	fmt.Println(err)
	// Output:
	// 4200 <nil>
	// decode "OrderEaten": unknown message type
}

func ExampleCodec_Encode() {
	payload, contentType, _, err := contracts.NewJSON().Encode(contracts.Order, &gaplessv1.OrderCancelled{OrderId: "o-1", Reason: gaplessv1.Reason_REASON_OUT_OF_STOCK})
	fmt.Println(string(payload), contentType, err)
	// Output: {"orderId":"o-1","reason":"REASON_OUT_OF_STOCK"} application/json <nil>
}

func ExampleTopic() {
	fmt.Println(contracts.Topic(contracts.PaymentCommand))
	// Output: outbox.event.payment.command
}

func ExampleParseFrame() {
	id, body, err := contracts.ParseFrame([]byte("\x00\x00\x00\x00\x2a\x00body"))
	fmt.Println(id.ID, id.Index, string(body), err)
	// Output: 42 [0] body <nil>
}
