package saga

import (
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/gapless/gapless/contracts/gaplessv1"
)

// Policy says how long the saga waits for an answer.
type Policy struct {
	// Timeout before the first command of a step is sent again; it doubles with
	// each.
	Timeout time.Duration
	// MaxTimeout bounds the doubling.
	MaxTimeout time.Duration
	// Attempts is how many commands are sent for a step before it is given up.
	Attempts int
}

func (p Policy) wait(attempt int) Timer {
	d := p.Timeout
	for range attempt - 1 {
		if d >= p.MaxTimeout {
			break
		}
		d *= 2
	}
	return Timer(min(d, p.MaxTimeout))
}

// Machine decides what an event makes of a saga. It does no I/O, reads no clock
// and keeps nothing: [Machine.Apply] is a pure function.
type Machine struct {
	steps  Steps
	policy Policy
}

// NewMachine returns the machine of a definition.
func NewMachine(steps Steps, p Policy) *Machine { return &Machine{steps: steps, policy: p} }

// Apply returns the saga after the event, and what must be brought about with
// it. s itself is not changed. An event that moves nothing returns s and says
// why in [Effects.Ignored].
func (m *Machine) Apply(s State, e Event) (State, Effects) {
	t := transition{Machine: m, s: s.clone()}
	if why := t.apply(e); why != "" {
		return s, Effects{Ignored: why}
	}
	return t.s, t.fx
}

// transition is one application in progress.
type transition struct {
	*Machine
	s  State
	fx Effects
}

// Why an event was ignored.
const (
	whyUnknown   = "there is no such saga"
	whyExists    = "the saga has been started already"
	whyFinal     = "the saga is over"
	whyNotFlight = "not the step in flight"
	whyNoAnswer  = "the type does not answer the step in flight"
	whyNoReview  = "the order is not in review"
	whyCancelled = "a cancellation is under way already"
	whyNotStuck  = "the saga needs no attention"
	whyNoAbort   = "what is being undone cannot be aborted"
)

func (t *transition) apply(e Event) string {
	if t.s.Final() {
		return whyFinal
	}
	if t.s.Order == nil { // not placed: at most cancelled in advance
		switch e := e.(type) {
		case Placed:
			return t.place(e)
		case Cancel:
			if t.s.CancelWanted {
				return whyCancelled
			}
			t.s.Status, t.s.CancelWanted, t.fx.Timer = Waiting, true, clearTimer
			return ""
		}
		return whyUnknown
	}
	switch e := e.(type) {
	case Placed:
		return whyExists
	case Reply:
		return t.reply(e)
	case Decision:
		return t.decide(e)
	case Cancel:
		return t.cancel()
	case Parked:
		return t.parked(e)
	case Expired:
		return t.expired()
	case Mended:
		return t.mend(e)
	}
	return whyNoAnswer
}

func (t *transition) place(e Placed) string {
	order := e.Order
	t.s.Order, t.s.Status, t.s.Direction = &order, Running, Forward
	if order.Trial {
		t.order(OrderChange{StockStatus: "not_needed"})
	}
	t.advance(0)
	return ""
}

// advance starts the first step from that index on that the order has.
func (t *transition) advance(from int) {
	if t.s.CancelWanted {
		t.compensate(CustomerCancelled)
		return
	}
	for _, step := range t.steps[from:] {
		if step.Applies != nil && !step.Applies(t.s) {
			continue
		}
		switch {
		case step.Command != nil:
			t.s.Status = Running
			t.send(step, Forward, 1)
		case step.Person:
			t.s.Status, t.s.Step, t.s.Attempts = Waiting, step.Name, 1
			t.settle(step.Name, Forward, Sent, "")
			t.fx.Timer = clearTimer // a person takes the time it takes
			t.order(OrderChange{Status: "in_review", Event: &gaplessv1.OrderInReview{
				OrderId: t.s.ID.String(), CustomerId: t.s.Order.CustomerID,
			}})
		default:
			t.complete()
		}
		return
	}
}

func (t *transition) complete() {
	t.s.Status, t.s.Step, t.fx.Timer = Completed, "", clearTimer
	o := t.s.Order
	confirmed := &gaplessv1.OrderConfirmed{
		OrderId: t.s.ID.String(), CustomerId: o.CustomerID, Currency: o.Currency, TotalMinor: o.TotalMinor,
		Plan: gaplessv1.Plan_PLAN_STANDARD,
	}
	if o.Trial {
		confirmed.Plan = gaplessv1.Plan_PLAN_TRIAL
	}
	for _, item := range o.Items {
		confirmed.Items = append(confirmed.Items, &gaplessv1.Item{Sku: item.SKU, Quantity: item.Quantity, UnitPriceMinor: item.UnitPriceMinor})
	}
	t.order(OrderChange{Status: "confirmed", Event: confirmed})
}

// send puts a step in flight: at its first command, or again.
func (t *transition) send(step Step, d Direction, attempt int) {
	build := step.Command
	if d == Compensation {
		build = step.Undo
	}
	t.s.Step, t.s.Direction, t.s.Attempts = step.Name, d, attempt
	t.s.CommandSeq++
	aggregateType, body := build(t.s)
	t.fx.Commands = append(t.fx.Commands, Command{
		Step: step.Name, Direction: d, StepID: StepID(t.s.ID, d, step.Name),
		AggregateType: aggregateType, Version: t.s.CommandSeq, Body: body,
	})
	t.settle(step.Name, d, Sent, "")
	t.fx.Timer = t.policy.wait(attempt)
}

// settle notes how a step stands.
func (t *transition) settle(step string, d Direction, status StepStatus, why string) {
	progress := t.s.Forward
	if d == Compensation {
		progress = t.s.Undone
	}
	progress[step] = status
	t.fx.Steps = append(t.fx.Steps, StepChange{
		Step: step, Direction: d, StepID: StepID(t.s.ID, d, step), Status: status, Attempts: t.s.Attempts, Error: why,
	})
}

func (t *transition) order(c OrderChange) { t.fx.Order = append(t.fx.Order, c) }

// compensate undoes what was, or may have been, done, last first, one step at a
// time; when nothing is left the order is cancelled. The first reason stays.
func (t *transition) compensate(reason string) {
	t.s.Direction, t.s.Status = Compensation, Compensating
	if t.s.Reason == "" {
		t.s.Reason = reason
	}
	for _, step := range slices.Backward(t.steps) {
		started := t.s.Forward[step.Name]
		if step.Undo == nil || started == "" || started == Rejected {
			continue
		}
		if undone := t.s.Undone[step.Name]; undone == Done || undone == Skipped {
			continue
		}
		t.send(step, Compensation, 1)
		return
	}
	t.s.Status, t.s.Step, t.fx.Timer = Cancelled, "", clearTimer
	t.order(OrderChange{Status: "cancelled", Reason: t.s.Reason, Event: &gaplessv1.OrderCancelled{
		OrderId: t.s.ID.String(), CustomerId: t.s.Order.CustomerID, Reason: reasonCode(t.s.Reason),
	}})
}

// current returns the step in flight.
func (t *transition) current() Step { return t.steps[t.steps.index(t.s.Step)] }

// inFlight reports whether a participant owes the answer to this step id. A
// saga that needs attention still takes it: its dead letter may be redriven.
func (t *transition) inFlight(stepID uuid.UUID) bool {
	switch t.s.Status {
	case Running, Compensating, NeedsAttention:
		return stepID == StepID(t.s.ID, t.s.Direction, t.s.Step)
	}
	return false
}

func (t *transition) reply(e Reply) string {
	if !t.inFlight(e.StepID) {
		return whyNotFlight
	}
	step := t.current()
	switch {
	case t.s.Direction == Compensation && slices.Contains(step.Undone, e.Type):
		t.resume(Compensating)
		t.settle(step.Name, Compensation, Done, "")
		t.compensate(t.s.Reason)
	case t.s.Direction == Forward && slices.Contains(step.Done, e.Type):
		t.resume(Running)
		t.s.Flagged = t.s.Flagged || e.Flagged
		t.settle(step.Name, Forward, Done, "")
		if step.StockDone != "" {
			t.order(OrderChange{StockStatus: step.StockDone})
		}
		t.advance(t.steps.index(step.Name) + 1)
	case t.s.Direction == Forward && slices.Contains(step.Refused, e.Type):
		t.resume(Running)
		t.settle(step.Name, Forward, Rejected, "")
		if step.StockRefused != "" {
			t.order(OrderChange{StockStatus: step.StockRefused})
		}
		t.compensate(step.Reason)
	default:
		return whyNoAnswer
	}
	return ""
}

// resume takes a saga that needed attention up again.
func (t *transition) resume(status Status) {
	if t.s.Status == NeedsAttention {
		t.order(OrderChange{Status: "pending"})
	}
	t.s.Status = status
}

func (t *transition) decide(e Decision) string {
	if t.s.Status != Waiting {
		return whyNoReview
	}
	step := t.current()
	t.order(OrderChange{Status: "pending"})
	if !e.Approve {
		t.settle(step.Name, Forward, Rejected, "")
		t.compensate(step.Reason)
		return ""
	}
	t.settle(step.Name, Forward, Done, "")
	t.advance(t.steps.index(step.Name) + 1)
	return ""
}

func (t *transition) cancel() string {
	switch {
	case t.s.CancelWanted || t.s.Direction == Compensation:
		return whyCancelled
	case t.s.Status == Waiting:
		t.s.CancelWanted = true
		t.order(OrderChange{Status: "pending"})
		t.settle(t.s.Step, Forward, Skipped, "cancelled by the customer")
		t.compensate(CustomerCancelled)
	default:
		// The step in flight is finished first: what it did is then known, and
		// can be undone.
		t.s.CancelWanted = true
	}
	return ""
}

func (t *transition) parked(e Parked) string {
	if t.s.Status == NeedsAttention || !t.inFlight(e.StepID) {
		return whyNotFlight
	}
	t.attention("the command is a dead letter")
	return ""
}

// attention hands the saga to a person. A compensation that failed is never
// reported as done.
func (t *transition) attention(why string) {
	t.settle(t.s.Step, t.s.Direction, Failed, why)
	t.s.Status, t.fx.Timer = NeedsAttention, clearTimer
	var reason string
	if t.s.Direction == Compensation {
		reason = CompensationFailed
	}
	t.order(OrderChange{Status: "needs_attention", Reason: reason, Event: &gaplessv1.OrderNeedsAttention{
		OrderId: t.s.ID.String(), CustomerId: t.s.Order.CustomerID, Reason: reasonCode(reason), Step: t.s.Step,
	}})
}

func (t *transition) expired() string {
	if t.s.Status != Running && t.s.Status != Compensating {
		return whyNotFlight
	}
	step := t.current()
	switch {
	case t.s.Attempts < t.policy.Attempts:
		t.send(step, t.s.Direction, t.s.Attempts+1)
	case t.s.Direction == Compensation:
		t.attention("not answered in time")
	default:
		// Its outcome is unknown, so that it is undone as well.
		t.settle(step.Name, Forward, Failed, "not answered in time")
		reason := step.Reason
		if t.s.CancelWanted {
			reason = CustomerCancelled
		}
		t.compensate(reason)
	}
	return ""
}

func (t *transition) mend(e Mended) string {
	if t.s.Status != NeedsAttention {
		return whyNotStuck
	}
	step, d := t.current(), t.s.Direction
	if e.Action == Abort && d == Compensation {
		return whyNoAbort
	}
	status := Running
	if d == Compensation {
		status = Compensating
	}
	t.resume(status)
	switch {
	case e.Action == Retry:
		t.send(step, d, 1)
	case e.Action == Abort:
		t.compensate(step.Reason)
	case d == Compensation:
		t.settle(step.Name, d, Skipped, "taken as done by an operator")
		t.compensate(t.s.Reason)
	default:
		t.settle(step.Name, d, Skipped, "taken as done by an operator")
		if step.StockDone != "" {
			t.order(OrderChange{StockStatus: step.StockDone})
		}
		t.advance(t.steps.index(step.Name) + 1)
	}
	return ""
}

func reasonCode(reason string) gaplessv1.Reason {
	switch reason {
	case OutOfStock:
		return gaplessv1.Reason_REASON_OUT_OF_STOCK
	case PaymentDeclined:
		return gaplessv1.Reason_REASON_PAYMENT_DECLINED
	case ReviewRejected:
		return gaplessv1.Reason_REASON_REVIEW_REJECTED
	case FulfillmentFailed:
		return gaplessv1.Reason_REASON_FULFILLMENT_FAILED
	case CompensationFailed:
		return gaplessv1.Reason_REASON_COMPENSATION_FAILED
	case CustomerCancelled:
		return gaplessv1.Reason_REASON_CUSTOMER_CANCELLED
	}
	return gaplessv1.Reason_REASON_UNSPECIFIED
}
