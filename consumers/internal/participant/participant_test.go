package participant_test

import (
	"slices"
	"testing"

	"github.com/google/uuid"
	"go.uber.org/goleak"

	"github.com/gapless/gapless/consumers"
	"github.com/gapless/gapless/consumers/internal/participant"
	"github.com/gapless/gapless/contracts"
	"github.com/gapless/gapless/contracts/gaplessv1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func message(typ, contentType string, value []byte) *consumers.Message {
	return &consumers.Message{Type: typ, Value: value, Headers: []consumers.Header{{Name: "content-type", Value: []byte(contentType)}}}
}

func TestDecode(t *testing.T) {
	t.Parallel()
	const id = "01890a5d-ac96-774b-bcce-b302099a8057"
	for name, c := range map[string]struct {
		m  *consumers.Message
		ok bool
	}{
		"json":               {message("ReleaseStock", contracts.JSON, []byte(`{"orderId":"`+id+`"}`)), true},
		"protobuf":           {message("ReleaseStock", contracts.Protobuf, append([]byte{0, 0, 0, 0, 9, 2, 2, 0x0a, 36}, id...)), true},
		"unknown field":      {message("ReleaseStock", contracts.JSON, []byte(`{"orderId":"`+id+`","since":"v2"}`)), true},
		"garbage":            {message("ReleaseStock", contracts.JSON, []byte("garbage")), false},
		"tombstone":          {message("ReleaseStock", contracts.JSON, nil), false},
		"unknown type":       {message("Nonsense", contracts.JSON, []byte(`{}`)), false},
		"of no order":        {message("StockLine", contracts.JSON, []byte(`{}`)), false},
		"order id is none":   {message("ReleaseStock", contracts.JSON, []byte(`{"orderId":"7"}`)), false},
		"other content type": {message("ReleaseStock", "text/xml", []byte(`<a/>`)), false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			body, order, err := participant.Decode(c.m)
			if !c.ok {
				if !consumers.IsPoison(err) {
					t.Errorf("error = %v, want poison", err)
				}
				return
			}
			if err != nil || order.String() != id || body == nil {
				t.Errorf("order %s, error %v", order, err)
			}
		})
	}
}

func TestReply(t *testing.T) {
	t.Parallel()
	order := uuid.New()
	command := &consumers.Message{Headers: []consumers.Header{{Name: "gapless_step", Value: []byte("s-1")}}}
	e := participant.Reply(command, contracts.Stock, order, 3, &gaplessv1.StockReleased{})
	if e.AggregateID != order.String() || e.AggregateVersion != 3 || e.Headers["gapless_step"] != "s-1" {
		t.Errorf("reply = %+v", e)
	}
	if e := participant.Reply(&consumers.Message{}, contracts.Stock, order, 1, &gaplessv1.StockReleased{}); len(e.Headers) != 0 {
		t.Errorf("a reply to no step carries %v", e.Headers)
	}
}

func TestSortIDs(t *testing.T) {
	t.Parallel()
	a, b := uuid.UUID{1}, uuid.UUID{2}
	if got := participant.SortIDs([]uuid.UUID{b, a, b}); !slices.Equal(got, []uuid.UUID{a, b}) {
		t.Errorf("sorted = %v", got)
	}
}

// Whatever the bytes are, they are a message with an order, or poison.
func FuzzDecode(f *testing.F) {
	f.Add("ReserveStock", contracts.JSON, []byte(`{"orderId":"01890a5d-ac96-774b-bcce-b302099a8057","lines":[{"sku":"A","quantity":1}]}`))
	f.Add("OrderPlaced", contracts.Protobuf, []byte{0, 0, 0, 0, 1, 0, 0x0a, 0})
	f.Add("", "", []byte{})
	f.Fuzz(func(t *testing.T, typ, contentType string, value []byte) {
		body, _, err := participant.Decode(message(typ, contentType, value))
		switch {
		case err == nil && body == nil:
			t.Errorf("neither a message nor an error for %q", value)
		case err != nil && !consumers.IsPoison(err):
			t.Errorf("error = %v, want poison", err)
		}
	})
}
