package payment

import (
	"context"
	"errors"

	"github.com/google/uuid"
)

// Gateway is a payment provider.
//
// key is an idempotency key: the provider does the same call once, however
// often it is made, and gives the first answer again. Calls may run
// concurrently.
//
// Every method returns nil when done, a [*DeclinedError] when the provider has
// said no for good, an error that is [ErrTransient] when nothing was done, and
// any other error, [ErrUnknownOutcome] among them, when it may or may not have
// been done.
type Gateway interface {
	// Authorize reserves an amount.
	Authorize(ctx context.Context, key string, r AuthorizeRequest) (Authorization, error)
	// Capture takes the whole of what was authorised.
	Capture(ctx context.Context, key, chargeID string) error
	// Void gives back what was authorised under the key authorization, also
	// when that call's answer was lost. When there was none, one that arrives
	// later under that key is declined.
	Void(ctx context.Context, key, authorization string) error
	// Refund gives back the whole of what was captured.
	Refund(ctx context.Context, key, chargeID string) error
}

// AuthorizeRequest is what is to be reserved.
type AuthorizeRequest struct {
	OrderID     uuid.UUID // for the statement; means nothing to the provider
	Token       string
	AmountMinor int64
	Currency    string
	PostalCode  string // for the provider's check of the address
}

// Authorization is a reserved amount.
type Authorization struct {
	ChargeID string
	// Flagged: the provider takes it for fraud, perhaps. Nothing is captured
	// before a person has looked.
	Flagged bool
}

var (
	// ErrTransient: the call was not done, and may succeed later.
	ErrTransient = errors.New("gateway is not able to answer now")
	// ErrUnknownOutcome: the call may have been done; the same key tells.
	ErrUnknownOutcome = errors.New("gateway's answer was lost")
)

// DeclinedError is a final no.
type DeclinedError struct {
	Code string // of the provider, for example "card_declined"
}

func (e *DeclinedError) Error() string { return "gateway declined: " + e.Code }
