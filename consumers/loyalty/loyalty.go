// Package loyalty keeps a ledger: one point for each whole unit of 100 minor of
// a confirmed order, standard or trial, in loyalty.points. It follows the order
// events by itself; the saga does not know it.
//
// # Promise
//
// An order gives its points once: by the inbox claim, and by the ledger's
// primary key as well, which also makes a rebuild harmless.
//
// # When the process dies
//
// Entry and claim are one transaction: both or neither.
//
// # What it does not do
//
// It spends no points and takes none back: a confirmed order is final.
package loyalty

import (
	"bytes"
	"context"
	"fmt"
	"slices"

	"github.com/google/uuid"

	"github.com/gapless/gapless/consumers"
	"github.com/gapless/gapless/consumers/internal/participant"
	"github.com/gapless/gapless/contracts"
	"github.com/gapless/gapless/contracts/gaplessv1"
	"github.com/gapless/gapless/sql"
)

// Name of the consumer.
const Name = "loyalty"

// minorPerPoint is what a point costs.
const minorPerPoint = 100

// Config of the ledger. There is nothing to set yet.
type Config struct{}

// New returns the consumer. It does no I/O.
func New(Config) consumers.Consumer {
	return consumers.Consumer{
		Name:       Name,
		Topics:     []string{contracts.Topic(contracts.Order)},
		Types:      []string{"OrderConfirmed"},
		ApplyBatch: applyBatch,
	}
}

type entry struct {
	order, event uuid.UUID
	customer     string
	points       int64
}

func applyBatch(_ context.Context, tx consumers.Tx, batch []consumers.Delivery) error {
	entries := make([]entry, len(batch))
	for i, d := range batch {
		body, order, err := participant.Decode(d.Message)
		if err != nil {
			return err
		}
		confirmed, ok := body.(*gaplessv1.OrderConfirmed)
		if !ok || confirmed.GetTotalMinor() < 0 {
			return consumers.Poison(participant.Invalid, fmt.Errorf("type %q with total %d", d.Type, confirmed.GetTotalMinor()))
		}
		entries[i] = entry{order, d.ID, confirmed.GetCustomerId(), confirmed.GetTotalMinor() / minorPerPoint}
	}
	// Sorted: an insert waits for a concurrent one of the same order.
	slices.SortFunc(entries, func(a, b entry) int { return bytes.Compare(a.order[:], b.order[:]) })

	n := len(entries)
	var (
		orders    = make([][16]byte, n)
		customers = make([]string, n)
		points    = make([]int64, n)
		events    = make([][16]byte, n)
	)
	for i, e := range entries {
		orders[i], customers[i], points[i], events[i] = e.order, e.customer, e.points, e.event
	}
	tx.Queue(sql.LoyaltyPointsAppend, orders, customers, points, events)
	return nil
}
