package saga_test

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"pgregory.net/rapid"

	"github.com/gapless/gapless/consumers/saga"
	"github.com/gapless/gapless/contracts/gaplessv1"
)

var policy = saga.Policy{Timeout: time.Second, MaxTimeout: time.Minute, Attempts: 2}

var testID = uuid.MustParse("01890a5d-ac96-774b-bcce-b302099a8057")

// everything that may be said to a saga in that state, right or wrong.
func everything(s saga.State, trial bool) []saga.Event {
	events := []saga.Event{
		saga.Placed{Order: saga.Order{CustomerID: "c", Trial: trial}},
		saga.Decision{Approve: true},
		saga.Decision{},
		saga.Cancel{},
		saga.Expired{},
		saga.Mended{Action: saga.Retry},
		saga.Mended{Action: saga.Skip},
		saga.Mended{Action: saga.Abort},
	}
	var ids []uuid.UUID
	for _, step := range saga.Definition() {
		for _, d := range []saga.Direction{saga.Forward, saga.Compensation} {
			ids = append(ids, saga.StepID(s.ID, d, step.Name))
		}
	}
	for _, id := range append(ids, uuid.Nil) {
		events = append(events, saga.Parked{StepID: id})
		for _, step := range saga.Definition() {
			for _, typ := range slices.Concat(step.Done, step.Refused, step.Undone) {
				events = append(events, saga.Reply{Type: typ, StepID: id})
				if typ == "PaymentAuthorized" {
					events = append(events, saga.Reply{Type: typ, StepID: id, Flagged: true})
				}
			}
		}
	}
	return events
}

// Every state that any sequence of events can lead to, and every event in each
// of them.
func TestEveryTransition(t *testing.T) {
	t.Parallel()
	for _, trial := range []bool{false, true} {
		t.Run(fmt.Sprintf("trial=%t", trial), func(t *testing.T) {
			t.Parallel()
			m := saga.NewMachine(saga.Definition(), policy)
			start := saga.State{ID: testID}
			states := map[string]saga.State{key(start): start}
			next := make(map[string][]string)
			queue := []string{key(start)}
			events := everything(start, trial)
			ends := make(map[saga.Status]int)
			for len(queue) > 0 {
				from := queue[0]
				queue = queue[1:]
				s := states[from]
				ends[s.Status]++
				for _, e := range events {
					after, fx := m.Apply(s, e)
					check(t, s, e, after, fx)
					if fx.Ignored != "" {
						continue // check has seen that nothing changed
					}
					after.CommandSeq = 0 // a counter: it alone would make states without end
					k := key(after)
					next[from] = append(next[from], k)
					if _, known := states[k]; !known {
						states[k] = after
						queue = append(queue, k)
					}
				}
				if key(s) != from {
					t.Fatalf("an event changed the state it was given: %s", from)
				}
			}
			t.Logf("%d states: %v", len(states), ends)
			can := canEnd(states, next)
			for k, s := range states {
				if !can[k] {
					t.Errorf("nothing can end a saga that is %s at %q (%s)", s.Status, s.Step, s.Direction)
				}
			}
			if ends[saga.Completed] == 0 || ends[saga.Cancelled] == 0 {
				t.Errorf("ends = %v: an end was never reached", ends)
			}
		})
	}
}

func key(s saga.State) string {
	text, err := json.Marshal(s)
	if err != nil {
		panic(err)
	}
	return string(text)
}

// canEnd finds, backwards from the ends, every state from which one is reached.
func canEnd(states map[string]saga.State, next map[string][]string) map[string]bool {
	previous := make(map[string][]string)
	for from, list := range next {
		for _, to := range list {
			previous[to] = append(previous[to], from)
		}
	}
	can := make(map[string]bool)
	var queue []string
	for k, s := range states {
		if s.Final() {
			can[k] = true
			queue = append(queue, k)
		}
	}
	for len(queue) > 0 {
		k := queue[0]
		queue = queue[1:]
		for _, from := range previous[k] {
			if !can[from] {
				can[from] = true
				queue = append(queue, from)
			}
		}
	}
	return can
}

// check holds one transition against the laws.
func check(t interface{ Fatalf(string, ...any) }, before saga.State, e saga.Event, after saga.State, fx saga.Effects) {
	say := func(format string, args ...any) {
		t.Fatalf("%s at %q (%s) + %#v -> %s at %q: %s", before.Status, before.Step, before.Direction, e,
			after.Status, after.Step, fmt.Sprintf(format, args...))
	}
	if fx.Ignored != "" {
		if !reflect.DeepEqual(before, after) || len(fx.Commands)+len(fx.Order)+len(fx.Steps) > 0 || fx.Timer != 0 {
			say("ignored, and yet it did something")
		}
		return
	}
	if before.Final() {
		say("a saga that was over moved")
	}
	inFlight := saga.StepID(before.ID, before.Direction, before.Step)
	switch e := e.(type) {
	case saga.Reply:
		if e.StepID != inFlight {
			say("a reply to another step moved it")
		}
	case saga.Parked:
		if e.StepID != inFlight || after.Status != saga.NeedsAttention || len(fx.Commands) > 0 {
			say("a dead letter must stop its saga and send nothing")
		}
	case saga.Decision:
		if before.Status != saga.Waiting || before.Step != saga.Review {
			say("a decision outside a review")
		}
	}
	switch after.Status {
	case saga.Running, saga.Compensating:
		if after.Step == "" {
			say("nothing is in flight")
		}
		if len(fx.Commands) > 0 && fx.Timer <= 0 {
			say("a command without a deadline")
		}
		if len(fx.Commands) == 0 {
			if _, cancel := e.(saga.Cancel); !cancel {
				say("it moved and sent nothing")
			}
		}
	default:
		if _, cancel := e.(saga.Cancel); fx.Timer >= 0 && (!cancel || before.Status != saga.NeedsAttention) {
			say("it waits for nobody, and keeps a deadline")
		}
	}
	if len(fx.Commands) > 1 {
		say("two commands at once")
	}
	for _, c := range fx.Commands {
		if c.Step != after.Step || c.Direction != after.Direction || c.StepID != saga.StepID(after.ID, after.Direction, after.Step) {
			say("the command is not the step in flight")
		}
		if c.Version != before.CommandSeq+1 || after.CommandSeq != c.Version {
			say("command version %d after %d", c.Version, before.CommandSeq)
		}
	}
	checkEnd(say, after, fx)
}

func checkEnd(say func(string, ...any), after saga.State, fx saga.Effects) {
	settled := func(s saga.StepStatus) bool { return s == saga.Done || s == saga.Skipped }
	var published []any
	for _, c := range fx.Order {
		if c.Event != nil {
			published = append(published, c.Event)
		}
	}
	switch after.Status {
	case saga.Completed:
		for _, step := range saga.Definition() {
			if (step.Command != nil || step.Person) && step.Applies(after) && !settled(after.Forward[step.Name]) {
				say("confirmed without %s", step.Name)
			}
		}
		if len(published) != 1 {
			say("%d events", len(published))
		}
	case saga.Cancelled:
		for _, step := range saga.Definition() {
			started := after.Forward[step.Name]
			if step.Undo != nil && started != "" && started != saga.Rejected && !settled(after.Undone[step.Name]) {
				say("cancelled, and %s is not undone", step.Name)
			}
		}
		if after.Reason == "" {
			say("cancelled for no reason")
		}
		if c, ok := fx.Order[len(fx.Order)-1].Event.(*gaplessv1.OrderCancelled); !ok || c.GetReason() == gaplessv1.Reason_REASON_UNSPECIFIED {
			say("no OrderCancelled with a reason")
		}
	}
}

// Long random histories, over any policy.
func TestRandomHistories(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		p := policy
		p.Attempts = rapid.IntRange(1, 5).Draw(t, "attempts")
		m := saga.NewMachine(saga.Definition(), p)
		trial := rapid.Bool().Draw(t, "trial")
		s := saga.State{ID: testID}
		for range rapid.IntRange(1, 60).Draw(t, "events") {
			// Mostly the answer that is awaited, or nothing would get far.
			e := rapid.SampledFrom(everything(s, trial)).Draw(t, "event")
			if rapid.IntRange(0, 2).Draw(t, "likely") > 0 && s.Step != "" {
				step := saga.Definition()[slices.IndexFunc(saga.Definition(), func(d saga.Step) bool { return d.Name == s.Step })]
				answers := step.Done
				if s.Direction == saga.Compensation {
					answers = step.Undone
				}
				if len(answers) > 0 {
					e = saga.Reply{Type: rapid.SampledFrom(answers).Draw(t, "answer"), StepID: saga.StepID(s.ID, s.Direction, s.Step)}
				}
			}
			after, fx := m.Apply(s, e)
			check(t, s, e, after, fx)
			s = after
		}
	})
}

// What is undone is undone last first, and a capture that may have happened is
// refunded, not voided.
func TestCompensationOrder(t *testing.T) {
	t.Parallel()
	m := saga.NewMachine(saga.Definition(), policy)
	s := saga.State{ID: testID}
	var sent []string
	tell := func(e saga.Event) {
		var fx saga.Effects
		s, fx = m.Apply(s, e)
		if fx.Ignored != "" {
			t.Fatalf("%#v was ignored: %s", e, fx.Ignored)
		}
		for _, c := range fx.Commands {
			sent = append(sent, string(c.Body.ProtoReflect().Descriptor().Name()))
		}
	}
	answer := func(typ string) { tell(saga.Reply{Type: typ, StepID: saga.StepID(s.ID, s.Direction, s.Step)}) }
	tell(saga.Placed{Order: saga.Order{CustomerID: "c"}})
	answer("StockReserved")
	answer("PaymentAuthorized")
	answer("ShipmentCreated")
	tell(saga.Expired{}) // the capture is asked for twice, and given up
	tell(saga.Expired{})
	answer("ShipmentCancelled")
	answer("PaymentRefunded")
	answer("StockReleased")
	want := "ReserveStock AuthorizePayment CreateShipment CapturePayment CapturePayment CancelShipment RefundPayment ReleaseStock"
	if got := strings.Join(sent, " "); got != want {
		t.Errorf("sent %s, want %s", got, want)
	}
	if s.Status != saga.Cancelled || s.Reason != saga.PaymentDeclined {
		t.Errorf("saga is %s for %s", s.Status, s.Reason)
	}
}

func TestDOT(t *testing.T) {
	t.Parallel()
	dot := saga.Definition().DOT()
	for _, want := range []string{
		"digraph order {", "reserve_stock -> authorise_payment", "undo_ship -> undo_authorise_payment", "undo_reserve_stock -> cancelled",
	} {
		if !strings.Contains(dot, want) {
			t.Errorf("no %q in\n%s", want, dot)
		}
	}
}

func ExampleMachine_Apply() {
	m := saga.NewMachine(saga.Definition(), saga.Policy{Timeout: time.Minute, MaxTimeout: time.Hour, Attempts: 3})
	s, fx := m.Apply(saga.State{ID: testID}, saga.Placed{Order: saga.Order{CustomerID: "c-1"}})
	fmt.Println(s.Status, s.Step, fx.Commands[0].Body.ProtoReflect().Descriptor().Name())
	s, fx = m.Apply(s, saga.Reply{Type: "StockRejected", StepID: fx.Commands[0].StepID})
	fmt.Println(s.Status, s.Reason, fx.Order[1].Event.ProtoReflect().Descriptor().Name())
	// Output:
	// running reserve_stock ReserveStock
	// cancelled out_of_stock OrderCancelled
}

func ExampleDefinition() {
	for _, step := range saga.Definition() {
		fmt.Println(step.Name, step.Done, step.Refused, step.Undone)
	}
	// Output:
	// reserve_stock [StockReserved] [StockRejected] [StockReleased]
	// authorise_payment [PaymentAuthorized] [PaymentDeclined] [PaymentVoided PaymentRefunded]
	// review [] [] []
	// ship [ShipmentCreated] [ShipmentFailed] [ShipmentCancelled]
	// capture [PaymentCaptured] [PaymentDeclined] []
	// confirm [] [] []
}
