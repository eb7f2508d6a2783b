package saga

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/gapless/gapless/consumers"
	"github.com/gapless/gapless/consumers/internal/participant"
	"github.com/gapless/gapless/contracts"
	"github.com/gapless/gapless/contracts/gaplessv1"
	"github.com/gapless/gapless/outbox"
	"github.com/gapless/gapless/sql"
)

// errOrderUnseen: the relay may show an event before its row can be selected,
// while the commit waits for a synchronous standby.
var errOrderUnseen = errors.New("the order's row cannot be seen yet")

// unseenFor is how long a commit may wait for its standby before an order that
// cannot be seen counts as one that does not exist.
const unseenFor = 10 * time.Minute

// instance is a saga that a batch has locked, or is about to create.
type instance struct {
	state       State
	isNew       bool
	isChanged   bool
	timer       Timer
	traceParent string
}

// work is the sagas of one transaction: locked, moved in memory, written once.
type work struct {
	machine *Machine
	sagas   map[sagaID]*instance
	outputs []output
	steps   []stepRow
	stepAt  map[uuid.UUID]int // by step id
	ignored []input
}

func newWork(m *Machine) *work {
	return &work{machine: m, sagas: make(map[sagaID]*instance), stepAt: make(map[uuid.UUID]int)}
}

// output is what one message caused.
type output struct {
	cause       *consumers.Message
	saga        sagaID
	traceParent string
	commands    []Command
	commandIDs  []uuid.UUID
	order       []OrderChange
}

func (w *work) lock(ctx context.Context, tx consumers.Tx, inputs []input) error {
	ids := make([]sagaID, 0, len(inputs))
	for _, in := range inputs {
		if in.event != nil {
			ids = append(ids, in.saga)
		}
	}
	rows, err := tx.Query(ctx, sql.SagaLock, participant.Raw(participant.SortIDs(ids)))
	if err != nil {
		return fmt.Errorf("lock sagas: %w", err)
	}
	if err := w.read(rows); err != nil {
		return fmt.Errorf("lock sagas: %w", err)
	}
	return nil
}

// apply moves one saga by one event, in memory.
func (w *work) apply(in input) {
	if in.event == nil {
		w.ignored = append(w.ignored, in)
		return
	}
	i := w.sagas[in.saga]
	if i == nil {
		i = &instance{state: State{ID: in.saga}, isNew: true}
	}
	state, fx := w.machine.Apply(i.state, in.event)
	if fx.Ignored != "" {
		if in.cause != nil {
			in.ignored = fx.Ignored
			w.ignored = append(w.ignored, in)
		}
		return
	}
	w.sagas[in.saga] = i
	i.state, i.isChanged = state, true
	if fx.Timer != keepTimer {
		i.timer = fx.Timer
	}
	if _, placed := in.event.(Placed); placed {
		i.traceParent = storable(traceParent(in.cause))
	}
	out := output{
		cause: in.cause, saga: in.saga, traceParent: i.traceParent, order: fx.Order,
		commands: fx.Commands, commandIDs: make([]uuid.UUID, len(fx.Commands)),
	}
	for n := range out.commandIDs {
		out.commandIDs[n] = uuid.Must(uuid.NewV7()) // fails only without randomness
	}
	w.outputs = append(w.outputs, out)
	w.noteSteps(in, fx, out)
}

// storable drops what a text column would refuse: a foreign header must not
// stop an order.
func storable(s string) string {
	if len(s) > 1024 || !utf8.ValidString(s) || strings.IndexByte(s, 0) >= 0 {
		return ""
	}
	return s
}

// finish gives out the orders' versions under their locks, emits what was
// caused, in the order of its causes, and queues all writes.
func (w *work) finish(ctx context.Context, tx consumers.Tx) error {
	orders, err := w.lockOrders(ctx, tx)
	if err != nil {
		return err
	}
	for _, out := range w.outputs {
		events := w.commandEvents(out)
		for _, change := range out.order {
			o := orders[out.saga]
			o.apply(change)
			if change.Event != nil {
				events = append(events, w.orderEvent(out, o, change))
			}
		}
		if len(events) == 0 {
			continue
		}
		if err := tx.Emit(ctx, out.cause, events...); err != nil {
			return err
		}
	}
	if err := w.queueSagas(tx); err != nil {
		return err
	}
	w.queueSteps(tx)
	w.queueIgnored(tx)
	queueOrders(tx, orders)
	return nil
}

func (w *work) commandEvents(out output) []outbox.Event {
	events := make([]outbox.Event, len(out.commands))
	for i, c := range out.commands {
		events[i] = outbox.Event{
			ID: out.commandIDs[i], AggregateType: c.AggregateType, AggregateID: out.saga.String(),
			AggregateVersion: c.Version, Message: c.Body, Headers: w.headers(out),
		}
		events[i].Headers[outbox.HeaderStep] = c.StepID.String()
	}
	return events
}

func (w *work) orderEvent(out output, o *orderRow, change OrderChange) outbox.Event {
	o.version++
	if confirmed, ok := change.Event.(*gaplessv1.OrderConfirmed); ok {
		confirmed.ConfirmedAt = timestamppb.New(o.now)
	}
	return outbox.Event{
		AggregateType: contracts.Order, AggregateID: out.saga.String(), AggregateVersion: o.version,
		Message: change.Event, Headers: w.headers(out),
	}
}

// headers of what the saga says. What no message caused carries the trace in
// which the order was placed.
func (w *work) headers(out output) map[string]string {
	headers := map[string]string{outbox.HeaderCorrelationID: out.saga.String()}
	if out.cause == nil && out.traceParent != "" {
		headers[outbox.HeaderTraceParent] = out.traceParent
	}
	return headers
}

// orderRow is an order's state as it is going to be written.
type orderRow struct {
	version                     int64
	now                         time.Time // the database's
	status, reason, stockStatus string
	confirmedAt                 *time.Time
}

func (o *orderRow) apply(c OrderChange) {
	if c.Status != "" {
		o.status, o.reason = c.Status, c.Reason
		if c.Status == "confirmed" {
			o.confirmedAt = &o.now
		}
	}
	if c.StockStatus != "" {
		o.stockStatus = c.StockStatus
	}
}

// isYoung tells whether what moved the saga was written a moment ago.
func (w *work) isYoung(id sagaID) bool {
	return slices.ContainsFunc(w.outputs, func(o output) bool {
		return o.saga == id && o.cause != nil && time.Since(o.cause.Timestamp) < unseenFor
	})
}

// lockOrders locks the orders that are going to change, and only those.
func (w *work) lockOrders(ctx context.Context, tx consumers.Tx) (map[sagaID]*orderRow, error) {
	orders := make(map[sagaID]*orderRow)
	for _, out := range w.outputs {
		if len(out.order) > 0 {
			orders[out.saga] = nil
		}
	}
	if len(orders) == 0 {
		return nil, nil
	}
	rows, err := tx.Query(ctx, sql.SagaOrdersLock, participant.Raw(participant.SortIDs(slices.Collect(maps.Keys(orders)))))
	if err != nil {
		return nil, fmt.Errorf("lock orders: %w", err)
	}
	if err := readOrders(rows, orders); err != nil {
		return nil, fmt.Errorf("lock orders: %w", err)
	}
	for id, o := range orders {
		if o == nil {
			err := fmt.Errorf("lock order %s: %w", id, errOrderUnseen)
			if w.isYoung(id) {
				return nil, consumers.Unavailable(err) // no try is counted
			}
			return nil, err
		}
	}
	return orders, nil
}
