package saga

import (
	"strings"

	"github.com/google/uuid"
	"google.golang.org/protobuf/proto"

	"github.com/gapless/gapless/consumers"
	"github.com/gapless/gapless/consumers/internal/participant"
	"github.com/gapless/gapless/contracts/gaplessv1"
	"github.com/gapless/gapless/outbox"
)

type sagaID = uuid.UUID

// input is an event for one saga. cause is nil when it is no message's: a
// timer's, or an operator's.
type input struct {
	saga  sagaID
	event Event
	cause *consumers.Message
	// ignored says why the message can move no saga.
	ignored string
}

const (
	whyNoSaga   = "ce_correlationid names no saga"
	whyMismatch = "the reply is about another order than its saga"
	whyNoStep   = "gapless_step names no step"
)

// decode turns a message into an event. Its errors are poison.
func decode(m *consumers.Message) (input, error) {
	if strings.HasPrefix(m.Topic, "dlq.") {
		return decodeDeadLetter(m), nil
	}
	body, order, err := participant.Decode(m)
	if err != nil {
		return input{}, err
	}
	in := input{saga: order, cause: m}
	switch body := body.(type) {
	case *gaplessv1.OrderPlaced:
		in.event = Placed{Order: newOrder(body)}
	case *gaplessv1.ApproveReview:
		in.event = Decision{Approve: true}
	case *gaplessv1.RejectReview:
		in.event = Decision{}
	case *gaplessv1.CancelOrder:
		in.event = Cancel{}
	default:
		return decodeReply(in, m, body), nil
	}
	return in, nil
}

// decodeReply: a reply moves only the saga that it names, and only if it is
// about that saga's order. What is not, or names none, is noted and ignored.
func decodeReply(in input, m *consumers.Message, body proto.Message) input {
	saga, err := uuid.Parse(m.CorrelationID())
	if err != nil {
		in.ignored = whyNoSaga
		return in
	}
	if saga != in.saga {
		in.saga, in.ignored = saga, whyMismatch
		return in
	}
	step, err := uuid.Parse(m.StepID())
	if err != nil {
		in.ignored = whyNoStep
		return in
	}
	reply := Reply{Type: m.Type, StepID: step}
	if a, ok := body.(*gaplessv1.PaymentAuthorized); ok {
		reply.Flagged = a.GetFlagged()
	}
	in.event = reply
	return in
}

// decodeDeadLetter goes by the headers alone: the body may be what the
// participant could not read.
func decodeDeadLetter(m *consumers.Message) input {
	saga, err := uuid.Parse(m.CorrelationID())
	if err != nil {
		// Of no saga: somebody else's record in a command topic.
		return input{cause: m, ignored: whyNoSaga}
	}
	step, err := uuid.Parse(m.StepID())
	if err != nil {
		return input{saga: saga, cause: m, ignored: whyNoStep}
	}
	return input{saga: saga, cause: m, event: Parked{StepID: step}}
}

func newOrder(m *gaplessv1.OrderPlaced) Order {
	a := m.GetShippingAddress()
	o := Order{
		CustomerID: m.GetCustomerId(), Currency: m.GetCurrency(), TotalMinor: m.GetTotalMinor(), PaymentToken: m.GetPaymentToken(),
		Trial: m.GetPlan() == gaplessv1.Plan_PLAN_TRIAL,
		Items: make([]Item, len(m.GetItems())),
		Address: Address{
			Line1: a.GetLine1(), Line2: a.GetLine2(), City: a.GetCity(), Region: a.GetRegion(),
			PostalCode: a.GetPostalCode(), Country: a.GetCountry(),
		},
	}
	for i, item := range m.GetItems() {
		o.Items[i] = Item{SKU: item.GetSku(), Quantity: item.GetQuantity(), UnitPriceMinor: item.GetUnitPriceMinor()}
	}
	return o
}

// traceParent of the message, for the commands that the timer sends.
func traceParent(m *consumers.Message) string {
	if m == nil {
		return ""
	}
	return m.Header(outbox.HeaderTraceParent)
}
