package payment

import (
	"google.golang.org/protobuf/proto"

	"github.com/google/uuid"

	"github.com/gapless/gapless/contracts/gaplessv1"
)

// Status of a payment; empty before the first command.
const (
	authorized = "authorized"
	declined   = "declined"
	captured   = "captured"
	voided     = "voided"
	refunded   = "refunded"
)

// payment is a row of payment.payments.
type payment struct {
	OrderID       uuid.UUID         `db:"order_id"`
	Status        string            `db:"status"`
	Currency      string            `db:"currency"`
	AmountMinor   int64             `db:"amount_minor"`
	CapturedMinor int64             `db:"captured_minor"`
	RefundedMinor int64             `db:"refunded_minor"`
	ChargeID      string            `db:"charge_id"`
	Flagged       bool              `db:"flagged"`
	Reason        string            `db:"reason"`
	Version       int64             `db:"version"`
	StepIDs       map[string]string `db:"step_ids"`
}

// action is the call of the gateway that a command needs.
type action int

const (
	actNone action = iota
	actAuthorize
	actCapture
	actVoid
	actRefund
	// actVoidStray voids what a prepared but never recorded authorisation may
	// have charged for a payment that is undone.
	actVoidStray
)

// plan says which call a command needs, the payment being what it is. It is
// asked before the call and again under the row's lock.
func plan(p payment, command proto.Message) action {
	switch command.(type) {
	case *gaplessv1.AuthorizePayment:
		switch p.Status {
		case "":
			return actAuthorize
		case voided, refunded:
			return actVoidStray
		}
	case *gaplessv1.CapturePayment:
		if p.Status == authorized {
			return actCapture
		}
	case *gaplessv1.VoidPayment, *gaplessv1.RefundPayment:
		switch p.Status {
		case authorized:
			return actVoid
		case captured:
			return actRefund
		}
	}
	return actNone
}

// prepared is what came of the call.
type prepared struct {
	action   action
	charge   Authorization  // of actAuthorize
	declined *DeclinedError // a final no
}

// record moves the payment by a command whose call is done, and returns the
// reply.
func (p *payment) record(command proto.Message, done prepared) proto.Message {
	switch command := command.(type) {
	case *gaplessv1.AuthorizePayment:
		return p.recordAuthorize(command, done)
	case *gaplessv1.CapturePayment:
		return p.recordCapture(done)
	default:
		return p.recordUndo(done)
	}
}

func (p *payment) recordAuthorize(c *gaplessv1.AuthorizePayment, done prepared) proto.Message {
	if done.action == actAuthorize {
		p.Currency, p.AmountMinor = c.GetCurrency(), c.GetAmountMinor()
		p.Status, p.ChargeID, p.Flagged = authorized, done.charge.ChargeID, done.charge.Flagged
		if done.declined != nil {
			p.Status, p.Reason = declined, done.declined.Code
		}
	}
	switch p.Status {
	case declined:
		return &gaplessv1.PaymentDeclined{OrderId: p.OrderID.String(), Code: p.Reason}
	case voided, refunded:
		return &gaplessv1.PaymentDeclined{OrderId: p.OrderID.String(), Code: p.Status}
	}
	return &gaplessv1.PaymentAuthorized{
		OrderId: p.OrderID.String(), ChargeId: p.ChargeID, AmountMinor: p.AmountMinor, Currency: p.Currency, Flagged: p.Flagged,
	}
}

func (p *payment) recordCapture(done prepared) proto.Message {
	if done.action == actCapture {
		if done.declined != nil { // the authorisation stands, for the saga to void
			p.Reason = done.declined.Code
			return &gaplessv1.PaymentDeclined{OrderId: p.OrderID.String(), Code: p.Reason}
		}
		p.Status, p.CapturedMinor = captured, p.AmountMinor
	}
	if p.Status != captured {
		return &gaplessv1.PaymentDeclined{OrderId: p.OrderID.String(), Code: p.Status}
	}
	return &gaplessv1.PaymentCaptured{
		OrderId: p.OrderID.String(), ChargeId: p.ChargeID, AmountMinor: p.CapturedMinor, Currency: p.Currency,
	}
}

func (p *payment) recordUndo(done prepared) proto.Message {
	switch {
	case done.action == actRefund:
		p.Status, p.RefundedMinor = refunded, p.CapturedMinor
	case done.action == actVoid, p.Status == "": // or a tombstone
		p.Status = voided
	}
	if p.Status == refunded {
		return &gaplessv1.PaymentRefunded{
			OrderId: p.OrderID.String(), ChargeId: p.ChargeID, AmountMinor: p.RefundedMinor, Currency: p.Currency,
		}
	}
	return &gaplessv1.PaymentVoided{OrderId: p.OrderID.String(), ChargeId: p.ChargeID}
}
