package saga

import (
	"testing"

	"github.com/gapless/gapless/consumers"
)

// Whatever a record holds, it is an event, ignored for a reason, or poison; and
// what comes from a dead-letter topic is never poison: its body is not read.
func FuzzDecode(f *testing.F) {
	const id = "01890a5d-ac96-774b-bcce-b302099a8057"
	f.Add("outbox.event.order", "OrderPlaced", id, id, []byte(`{"orderId":"`+id+`"}`))
	f.Add("outbox.event.stock", "StockReserved", id, "", []byte(`{"orderId":"`+id+`"}`))
	f.Add("dlq.gapless.payment.outbox.event.payment.command", "VoidPayment", id, id, []byte("garbage"))
	f.Fuzz(func(t *testing.T, topic, typ, correlation, step string, value []byte) {
		in, err := decode(&consumers.Message{Topic: topic, Type: typ, Value: value, Headers: []consumers.Header{
			{Name: "ce_correlationid", Value: []byte(correlation)}, {Name: "gapless_step", Value: []byte(step)},
		}})
		switch {
		case err != nil && (!consumers.IsPoison(err) || len(topic) > 4 && topic[:4] == "dlq."):
			t.Errorf("error = %v", err)
		case err == nil && (in.event == nil) == (in.ignored == ""):
			t.Errorf("input = %+v: want an event or a reason", in)
		}
	})
}
