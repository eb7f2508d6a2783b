package inventory

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/proto"

	"github.com/gapless/gapless/consumers"
	"github.com/gapless/gapless/consumers/internal/participant"
	"github.com/gapless/gapless/contracts/gaplessv1"
	"github.com/gapless/gapless/sql"
)

// Status of a reservation.
const (
	reserved = "reserved"
	rejected = "rejected"
	released = "released"
)

// reservation is a row of inventory.reservations; status is empty until the
// order's first command is decided.
type reservation struct {
	order   uuid.UUID
	status  string
	items   []line
	version int64
	step    string
	short   []string // SKUs for want of which it was rejected
}

// warehouse is what a batch has locked, as it changes from message to message.
// It is written once, after the last.
type warehouse struct {
	reservations map[uuid.UUID]*reservation
	available    map[string]int64 // SKUs that exist
	moved        map[string]int64 // what this batch did to them
	movements    []movement
}

type movement struct {
	order, event uuid.UUID
	sku          string
	delta        int64
	kind         string
}

// load locks the reservations of the batch, then its SKUs: always in this
// order, each sorted.
func load(ctx context.Context, tx consumers.Tx, commands []command) (*warehouse, error) {
	w := &warehouse{
		reservations: make(map[uuid.UUID]*reservation, len(commands)),
		available:    make(map[string]int64),
		moved:        make(map[string]int64),
	}
	orders := make([]uuid.UUID, len(commands))
	for i, c := range commands {
		orders[i] = c.order
	}
	rows, err := tx.Query(ctx, sql.InventoryReservationsLock, participant.Raw(participant.SortIDs(orders)))
	if err != nil {
		return nil, fmt.Errorf("lock reservations: %w", err)
	}
	var (
		r      reservation
		reason string
	)
	_, err = pgx.ForEachRow(rows, []any{&r.order, &r.status, &r.items, &r.version, &reason}, func() error {
		row := r
		r.items = nil // the next row must not write into this one's array
		if reason != "" {
			if err := json.Unmarshal([]byte(reason), &row.short); err != nil {
				return fmt.Errorf("reason of order %s: %w", row.order, err)
			}
		}
		w.reservations[row.order] = &row
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("lock reservations: %w", err)
	}
	return w, w.lockStock(ctx, tx, commands)
}

func (w *warehouse) lockStock(ctx context.Context, tx consumers.Tx, commands []command) error {
	wanted := make(map[string]struct{})
	for _, c := range commands {
		lines := c.lines
		if r := w.reservations[c.order]; r != nil {
			lines = nil // decided already: only a release moves anything
			if c.release && r.status == reserved {
				lines = r.items
			}
		}
		for _, l := range lines {
			wanted[l.SKU] = struct{}{}
		}
	}
	if len(wanted) == 0 {
		return nil
	}
	rows, err := tx.Query(ctx, sql.InventoryStockLock, slices.Sorted(maps.Keys(wanted)))
	if err != nil {
		return fmt.Errorf("lock stock: %w", err)
	}
	var (
		sku       string
		available int64
	)
	_, err = pgx.ForEachRow(rows, []any{&sku, &available}, func() error {
		w.available[sku] = available
		return nil
	})
	if err != nil {
		return fmt.Errorf("lock stock: %w", err)
	}
	return nil
}

func (w *warehouse) reservation(order uuid.UUID) *reservation {
	r := w.reservations[order]
	if r == nil {
		r = &reservation{order: order}
		w.reservations[order] = r
	}
	return r
}

// decide moves the reservation by one command and returns the reply.
func (w *warehouse) decide(r *reservation, c command) proto.Message {
	if c.release {
		return w.release(r, c)
	}
	if r.status == "" {
		w.reserve(r, c)
	}
	order := c.order.String()
	switch r.status {
	case reserved:
		return &gaplessv1.StockReserved{OrderId: order, Lines: toProto(r.items)}
	case rejected:
		short := slices.DeleteFunc(slices.Clone(r.items), func(l line) bool { return !slices.Contains(r.short, l.SKU) })
		return &gaplessv1.StockRejected{OrderId: order, Short: toProto(short)}
	default: // released: by a command that overtook this one, or long ago
		return &gaplessv1.StockRejected{OrderId: order}
	}
}

func (w *warehouse) reserve(r *reservation, c command) {
	r.items = c.lines
	for _, l := range c.lines {
		if w.available[l.SKU] < l.Quantity {
			r.short = append(r.short, l.SKU)
		}
	}
	if len(r.short) > 0 {
		r.status = rejected
		return
	}
	r.status = reserved
	for _, l := range r.items {
		w.move(c, l.SKU, -l.Quantity, "reserve")
	}
}

func (w *warehouse) release(r *reservation, c command) proto.Message {
	reply := &gaplessv1.StockReleased{OrderId: c.order.String()}
	switch r.status {
	case reserved:
		for _, l := range r.items {
			w.move(c, l.SKU, l.Quantity, "release")
		}
		reply.Lines = toProto(r.items)
		r.status = released
	case "":
		r.items, r.status = []line{}, released
	case released:
		reply.Lines = toProto(r.items)
	}
	return reply
}

func (w *warehouse) move(c command, sku string, delta int64, kind string) {
	w.available[sku] += delta
	w.moved[sku] += delta
	w.movements = append(w.movements, movement{order: c.order, event: c.ID, sku: sku, delta: delta, kind: kind})
}

// queue writes what changed, one statement a table.
func (w *warehouse) queue(tx consumers.Tx) error {
	orders := participant.SortIDs(slices.Collect(maps.Keys(w.reservations)))
	n := len(orders)
	var (
		statuses = make([]string, n)
		items    = make([]string, n)
		versions = make([]int64, n)
		steps    = make([]*[16]byte, n)
		reasons  = make([]*string, n)
	)
	for i, order := range orders {
		r := w.reservations[order]
		statuses[i], versions[i] = r.status, r.version
		text, err := json.Marshal(r.items)
		if err != nil {
			return fmt.Errorf("encode items of order %s: %w", order, err)
		}
		items[i] = string(text)
		if step, err := uuid.Parse(r.step); err == nil {
			steps[i] = (*[16]byte)(&step)
		}
		if len(r.short) > 0 {
			text, err := json.Marshal(r.short)
			if err != nil {
				return fmt.Errorf("encode short skus of order %s: %w", order, err)
			}
			reason := string(text)
			reasons[i] = &reason
		}
	}
	tx.Queue(sql.InventoryReservationsSave, participant.Raw(orders), statuses, items, versions, steps, reasons)
	w.queueMoves(tx)
	return nil
}

func (w *warehouse) queueMoves(tx consumers.Tx) {
	n := len(w.movements)
	if n == 0 {
		return
	}
	var (
		orders = make([][16]byte, n)
		skus   = make([]string, n)
		deltas = make([]int64, n)
		kinds  = make([]string, n)
		events = make([][16]byte, n)
	)
	for i, m := range w.movements {
		orders[i], skus[i], deltas[i], kinds[i], events[i] = m.order, m.sku, m.delta, m.kind, m.event
	}
	tx.Queue(sql.InventoryMovementsAppend, orders, skus, deltas, kinds, events)

	// One that was reserved and released within the batch is not written.
	maps.DeleteFunc(w.moved, func(_ string, delta int64) bool { return delta == 0 })
	moved := slices.Sorted(maps.Keys(w.moved))
	if len(moved) == 0 {
		return
	}
	sums := make([]int64, len(moved))
	for i, sku := range moved {
		sums[i] = w.moved[sku]
	}
	tx.Queue(sql.InventoryStockMove, moved, sums)
}
