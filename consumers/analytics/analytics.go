// Package analytics keeps a read model: confirmed orders and their revenue by
// hour (UTC) and currency, in analytics.sales_by_hour. It follows the order
// events by itself; the saga does not know it.
//
// # Promise
//
// Each confirmed order counts once, in the hour of its confirmed_at: the table
// equals a recomputation from checkout.orders, once this consumer has read so
// far. Trial orders count too: they are confirmed orders, and their total is
// their revenue.
//
// # How
//
// A batch is added up in memory by hour and currency and written as one
// statement, rows sorted, in the inbox transaction. The sums are commutative,
// so the order of events does not matter.
//
// # When the process dies
//
// Sums and claim are one transaction: both or neither.
//
// # What it does not do
//
// It does not clear the table. A rebuild (a new generation) adds to what it
// finds, so whoever starts one empties the table in the same transaction as
// the switch.
package analytics

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/gapless/gapless/consumers"
	"github.com/gapless/gapless/consumers/internal/participant"
	"github.com/gapless/gapless/contracts"
	"github.com/gapless/gapless/contracts/gaplessv1"
	"github.com/gapless/gapless/sql"
)

// Name of the consumer.
const Name = "analytics"

// Config of the read model. There is nothing to set yet.
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

// bucket is a row's key.
type bucket struct {
	hour     time.Time
	currency string
}

type sum struct{ orders, revenue int64 }

func applyBatch(_ context.Context, tx consumers.Tx, batch []consumers.Delivery) error {
	sums := make(map[bucket]sum)
	for _, d := range batch {
		body, _, err := participant.Decode(d.Message)
		if err != nil {
			return err
		}
		confirmed, ok := body.(*gaplessv1.OrderConfirmed)
		if !ok || !confirmed.GetConfirmedAt().IsValid() {
			return consumers.Poison(participant.Invalid, errors.New("OrderConfirmed without confirmed_at"))
		}
		key := bucket{confirmed.GetConfirmedAt().AsTime().Truncate(time.Hour), confirmed.GetCurrency()}
		s := sums[key]
		s.orders++
		s.revenue += confirmed.GetTotalMinor()
		sums[key] = s
	}

	keys := slices.SortedFunc(maps.Keys(sums), func(a, b bucket) int {
		return cmp.Or(a.hour.Compare(b.hour), cmp.Compare(a.currency, b.currency))
	})
	n := len(keys)
	var (
		hours      = make([]time.Time, n)
		currencies = make([]string, n)
		orders     = make([]int64, n)
		revenues   = make([]int64, n)
	)
	for i, k := range keys {
		hours[i], currencies[i], orders[i], revenues[i] = k.hour, k.currency, sums[k].orders, sums[k].revenue
	}
	tx.Queue(sql.AnalyticsSalesAdd, hours, currencies, orders, revenues)
	return nil
}
