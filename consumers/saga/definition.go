package saga

import (
	"fmt"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/gapless/gapless/contracts"
	"github.com/gapless/gapless/contracts/gaplessv1"
)

// Steps is a saga's definition, in order.
type Steps []Step

// Step is a line of the definition. With a Command it is a participant's; with
// Person it waits for a decision; with neither it ends the saga.
type Step struct {
	Name string
	// Applies says whether an order has this step; nil means always.
	Applies func(State) bool
	// Person: a [Decision] ends the step.
	Person bool
	// Command does the step.
	Command BuildFunc
	// Done and Refused are the types that answer Command. Refused means that
	// nothing was done, for good.
	Done, Refused []string
	// Reason of the cancellation when the step is refused or given up.
	Reason string
	// Undo takes the step back, also when it is not known whether it was done.
	Undo BuildFunc
	// Undone are the types that answer Undo.
	Undone []string
	// StockDone and StockRefused are what the answer makes of the order's
	// stock_status.
	StockDone, StockRefused string
}

// BuildFunc makes a step's command and names its topic.
type BuildFunc func(State) (aggregateType string, command proto.Message)

// Names of the steps.
const (
	ReserveStock     = "reserve_stock"
	AuthorisePayment = "authorise_payment"
	Review           = "review"
	Ship             = "ship"
	Capture          = "capture"
	Confirm          = "confirm"
)

// definition is stored with each saga, to tell old ones from new ones when the
// steps change.
const definition = 1

// sagaType in gapless.saga.
const sagaType = "order"

// Definition returns the steps of an order. What is undone is undone in reverse
// order. Capture has no undo of its own: undoing the authorisation refunds what
// was, or may have been, captured.
func Definition() Steps {
	paid := func(s State) bool { return !s.Order.Trial }
	return Steps{
		{
			Name: ReserveStock, Applies: paid, Command: reserveStock,
			Done: []string{"StockReserved"}, Refused: []string{"StockRejected"}, Reason: OutOfStock,
			Undo: releaseStock, Undone: []string{"StockReleased"},
			StockDone: "reserved", StockRefused: "rejected",
		},
		{
			Name: AuthorisePayment, Applies: paid, Command: authorizePayment,
			Done: []string{"PaymentAuthorized"}, Refused: []string{"PaymentDeclined"}, Reason: PaymentDeclined,
			Undo: undoPayment, Undone: []string{"PaymentVoided", "PaymentRefunded"},
		},
		{
			Name: Review, Applies: func(s State) bool { return s.Flagged }, Person: true, Reason: ReviewRejected,
		},
		{
			Name: Ship, Applies: paid, Command: createShipment,
			Done: []string{"ShipmentCreated"}, Refused: []string{"ShipmentFailed"}, Reason: FulfillmentFailed,
			Undo: cancelShipment, Undone: []string{"ShipmentCancelled"},
		},
		{
			Name: Capture, Applies: paid, Command: capturePayment,
			Done: []string{"PaymentCaptured"}, Refused: []string{"PaymentDeclined"}, Reason: PaymentDeclined,
		},
		{Name: Confirm},
	}
}

func (steps Steps) index(name string) int {
	for i := range steps {
		if steps[i].Name == name {
			return i
		}
	}
	return -1
}

func reserveStock(s State) (string, proto.Message) {
	lines := make([]*gaplessv1.StockLine, len(s.Order.Items))
	for i, item := range s.Order.Items {
		lines[i] = &gaplessv1.StockLine{Sku: item.SKU, Quantity: item.Quantity}
	}
	return contracts.InventoryCommand, &gaplessv1.ReserveStock{OrderId: s.ID.String(), Lines: lines}
}

func releaseStock(s State) (string, proto.Message) {
	return contracts.InventoryCommand, &gaplessv1.ReleaseStock{OrderId: s.ID.String()}
}

func authorizePayment(s State) (string, proto.Message) {
	return contracts.PaymentCommand, &gaplessv1.AuthorizePayment{
		OrderId: s.ID.String(), PaymentToken: s.Order.PaymentToken, AmountMinor: s.Order.TotalMinor,
		Currency: s.Order.Currency, PostalCode: s.Order.Address.PostalCode,
	}
}

// undoPayment refunds once a capture was asked for, whatever came of it: the
// participant voids instead when nothing was captured.
func undoPayment(s State) (string, proto.Message) {
	switch s.Forward[Capture] {
	case "", Rejected:
		return contracts.PaymentCommand, &gaplessv1.VoidPayment{OrderId: s.ID.String()}
	}
	return contracts.PaymentCommand, &gaplessv1.RefundPayment{OrderId: s.ID.String()}
}

func createShipment(s State) (string, proto.Message) {
	items := make([]*gaplessv1.Item, len(s.Order.Items))
	for i, item := range s.Order.Items {
		items[i] = &gaplessv1.Item{Sku: item.SKU, Quantity: item.Quantity, UnitPriceMinor: item.UnitPriceMinor}
	}
	a := s.Order.Address
	return contracts.FulfillmentCommand, &gaplessv1.CreateShipment{OrderId: s.ID.String(), Items: items, Address: &gaplessv1.Address{
		Line1: a.Line1, Line2: a.Line2, City: a.City, Region: a.Region, PostalCode: a.PostalCode, Country: a.Country,
	}}
}

func cancelShipment(s State) (string, proto.Message) {
	return contracts.FulfillmentCommand, &gaplessv1.CancelShipment{OrderId: s.ID.String()}
}

func capturePayment(s State) (string, proto.Message) {
	return contracts.PaymentCommand, &gaplessv1.CapturePayment{OrderId: s.ID.String()}
}

// DOT draws the definition in Graphviz's language: forward along solid edges,
// back along dashed ones.
func (steps Steps) DOT() string {
	var b strings.Builder
	b.WriteString("digraph order {\n\trankdir=LR;\n\tnode [shape=box];\n")
	for i, step := range steps {
		shape := "box"
		switch {
		case step.Person:
			shape = "diamond"
		case step.Command == nil:
			shape = "doublecircle"
		}
		fmt.Fprintf(&b, "\t%s [shape=%s];\n", step.Name, shape)
		if i > 0 {
			label := strings.Join(steps[i-1].Done, ", ")
			if steps[i-1].Person {
				label = "approved"
			}
			fmt.Fprintf(&b, "\t%s -> %s [label=%q];\n", steps[i-1].Name, step.Name, label)
		}
	}
	b.WriteString("\tcancelled [shape=doublecircle];\n")
	undo := "cancelled" // of the nearest earlier step that has one
	for _, step := range steps {
		if step.Reason != "" {
			fmt.Fprintf(&b, "\t%s -> %s [style=dashed, label=%q];\n", step.Name, undo, step.Reason)
		}
		if step.Undo != nil {
			name := "undo_" + step.Name
			fmt.Fprintf(&b, "\t%s -> %s [style=dashed, label=%q];\n", name, undo, strings.Join(step.Undone, ", "))
			undo = name
		}
	}
	b.WriteString("}\n")
	return b.String()
}
