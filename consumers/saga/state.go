package saga

import (
	"maps"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/proto"
)

// Status of a saga, as in gapless.saga.
type Status string

// The statuses. Completed and Cancelled are final.
const (
	Running        Status = "running"         // a forward step is in flight
	Waiting        Status = "waiting"         // for a person, or for the OrderPlaced that a cancellation overtook
	Compensating   Status = "compensating"    // an undo is in flight
	Completed      Status = "completed"       // confirmed
	Cancelled      Status = "cancelled"       // everything done is undone
	NeedsAttention Status = "needs_attention" // a person must act
)

// Direction of the step in flight.
type Direction string

// The directions.
const (
	Forward      Direction = "forward"
	Compensation Direction = "compensation"
)

// StepStatus is how a step that was started stands, as in gapless.saga_step.
type StepStatus string

// The step statuses.
const (
	Sent     StepStatus = "sent"     // its command is out, the outcome unknown
	Done     StepStatus = "done"     // its participant has said so
	Rejected StepStatus = "rejected" // its participant did nothing, for good
	Failed   StepStatus = "failed"   // given up or parked; the outcome is unknown
	Skipped  StepStatus = "skipped"  // settled without its participant
)

// Reasons of a cancelled order, as in checkout.orders.
const (
	OutOfStock         = "out_of_stock"
	PaymentDeclined    = "payment_declined"
	ReviewRejected     = "review_rejected"
	FulfillmentFailed  = "fulfillment_failed"
	CompensationFailed = "compensation_failed"
	CustomerCancelled  = "customer_cancelled"
)

// Order is what the steps need of an order.
type Order struct {
	CustomerID   string  `json:"customer_id"`
	Currency     string  `json:"currency"`
	TotalMinor   int64   `json:"total_minor"`
	PaymentToken string  `json:"payment_token"`
	Trial        bool    `json:"trial,omitempty"`
	Items        []Item  `json:"items"`
	Address      Address `json:"address"`
}

// Item is a line of an order.
type Item struct {
	SKU            string `json:"sku"`
	Quantity       int32  `json:"quantity"`
	UnitPriceMinor int64  `json:"unit_price_minor"`
}

// Address is where the order goes.
type Address struct {
	Line1      string `json:"line1,omitempty"`
	Line2      string `json:"line2,omitempty"`
	City       string `json:"city,omitempty"`
	Region     string `json:"region,omitempty"`
	PostalCode string `json:"postal_code,omitempty"`
	Country    string `json:"country,omitempty"`
}

// State is one saga: all that a transition looks at and changes. The zero State
// with an ID is a saga that does not exist yet.
type State struct {
	ID           uuid.UUID // the order's
	Status       Status
	Step         string    // in flight, or waited for
	Direction    Direction // of Step
	Reason       string    // why it is being undone
	CancelWanted bool
	Order        *Order // nil until placed
	Flagged      bool
	Attempts     int                   // commands sent for Step
	Forward      map[string]StepStatus // steps that were started
	Undone       map[string]StepStatus // undos that were started
	CommandSeq   int64                 // aggregate version of the last command
}

// clone makes a transition free to change the maps.
func (s State) clone() State {
	s.Forward, s.Undone = maps.Clone(s.Forward), maps.Clone(s.Undone)
	if s.Forward == nil {
		s.Forward = make(map[string]StepStatus)
	}
	if s.Undone == nil {
		s.Undone = make(map[string]StepStatus)
	}
	return s
}

// Final reports whether nothing can move the saga any more.
func (s State) Final() bool { return s.Status == Completed || s.Status == Cancelled }

// StepID is the id of a step of a saga in one direction: the idempotency key
// that its participant sees. It is the same for every command sent for the
// step, in every process.
func StepID(saga uuid.UUID, d Direction, step string) uuid.UUID {
	return uuid.NewSHA1(saga, []byte(string(d)+"/"+step))
}

// Event is what moves a saga: [Placed], [Reply], [Decision], [Cancel],
// [Parked], [Expired] or [Mended].
type Event interface{ event() }

type (
	// Placed starts the saga.
	Placed struct{ Order Order }
	// Reply is a participant's answer to the command with this step id.
	Reply struct {
		Type    string
		StepID  uuid.UUID
		Flagged bool
	}
	// Decision is a person's, on an order in review.
	Decision struct{ Approve bool }
	// Cancel is the customer's wish.
	Cancel struct{}
	// Parked says that the command with this step id is a dead letter.
	Parked struct{ StepID uuid.UUID }
	// Expired says that the step in flight was not answered in time.
	Expired struct{}
	// Mended is an operator's decision on a saga that needs attention.
	Mended struct{ Action Action }
)

func (Placed) event()   {}
func (Reply) event()    {}
func (Decision) event() {}
func (Cancel) event()   {}
func (Parked) event()   {}
func (Expired) event()  {}
func (Mended) event()   {}

// Action of an operator.
type Action string

// The actions.
const (
	Retry Action = "retry" // send the command again
	Skip  Action = "skip"  // take the step as done: a person has seen to it
	Abort Action = "abort" // undo what was done; forward steps only
)

// Effects are what a transition asks for. They are brought about in the
// transaction that stores the new state.
type Effects struct {
	// Ignored says why the event moved nothing; empty when it did.
	Ignored string
	// Commands to participants, in order.
	Commands []Command
	// Steps that changed, in order.
	Steps []StepChange
	// Order is what becomes of checkout.orders, in order.
	Order []OrderChange
	// Timer says what becomes of the deadline.
	Timer Timer
}

// Command to a participant.
type Command struct {
	Step          string
	Direction     Direction
	StepID        uuid.UUID
	AggregateType string
	Version       int64
	Body          proto.Message
}

// StepChange is a row of gapless.saga_step.
type StepChange struct {
	Step      string
	Direction Direction
	StepID    uuid.UUID
	Status    StepStatus
	Attempts  int
	Error     string
}

// OrderChange changes the order's row. Event, if any, is published under the
// order's next version.
type OrderChange struct {
	Status      string // "" leaves it
	Reason      string // goes with Status
	StockStatus string // "" leaves it
	Event       proto.Message
}

// Timer is what becomes of the deadline: zero leaves it, negative takes it
// away, positive sets it so far from now, by the database's clock.
type Timer time.Duration

const (
	keepTimer  Timer = 0
	clearTimer Timer = -1
)
