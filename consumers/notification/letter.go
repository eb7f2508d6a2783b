package notification

import (
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/gapless/gapless/contracts/gaplessv1"
)

// letter is what an event has to say to a customer.
type letter struct {
	customer, kind, subject, body string
}

// write makes the letter of an order event. The text holds nothing that a
// customer typed, so that nothing can be smuggled into the mail.
func write(event proto.Message) (letter, error) {
	switch e := event.(type) {
	case *gaplessv1.OrderPlaced:
		return letter{
			e.GetCustomerId(), "placed", "We have your order " + e.GetOrderId(),
			fmt.Sprintf("Thank you for order %s over %s.\nWe will write again when it is confirmed.\n", e.GetOrderId(), amount(e.GetTotalMinor(), e.GetCurrency())),
		}, nil
	case *gaplessv1.OrderConfirmed:
		return letter{
			e.GetCustomerId(), "confirmed", "Your order " + e.GetOrderId() + " is confirmed",
			fmt.Sprintf("Order %s over %s is confirmed.\n", e.GetOrderId(), amount(e.GetTotalMinor(), e.GetCurrency())),
		}, nil
	case *gaplessv1.OrderCancelled:
		return letter{
			e.GetCustomerId(), "cancelled", "Your order " + e.GetOrderId() + " is cancelled",
			fmt.Sprintf("Order %s is cancelled: %s.\nNothing was charged, or what was charged is on its way back.\n", e.GetOrderId(), because(e.GetReason())),
		}, nil
	case *gaplessv1.OrderInReview:
		return letter{
			e.GetCustomerId(), "in_review", "We are looking at your order " + e.GetOrderId(),
			fmt.Sprintf("Order %s waits for a look by one of us.\nYou need not do anything.\n", e.GetOrderId()),
		}, nil
	case *gaplessv1.OrderNeedsAttention:
		return letter{
			e.GetCustomerId(), "needs_attention", "Your order " + e.GetOrderId() + " is delayed",
			fmt.Sprintf("Order %s needs our attention.\nYou need not do anything.\n", e.GetOrderId()),
		}, nil
	}
	return letter{}, fmt.Errorf("type %q is no event that is written about", event.ProtoReflect().Descriptor().Name())
}

// amount in units of 100 minor, as everywhere in the pipeline.
func amount(minor int64, currency string) string {
	return fmt.Sprintf("%d.%02d %s", minor/100, minor%100, currency)
}

func because(r gaplessv1.Reason) string {
	switch r {
	case gaplessv1.Reason_REASON_OUT_OF_STOCK:
		return "something in it is out of stock"
	case gaplessv1.Reason_REASON_PAYMENT_DECLINED:
		return "the payment was declined"
	case gaplessv1.Reason_REASON_REVIEW_REJECTED:
		return "it did not pass our review"
	case gaplessv1.Reason_REASON_FULFILLMENT_FAILED:
		return "we cannot ship to the address"
	case gaplessv1.Reason_REASON_CUSTOMER_CANCELLED:
		return "as you asked"
	}
	return "it could not be completed"
}
