package consumerstest_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/gapless/gapless/consumers"
	"github.com/gapless/gapless/consumers/consumerstest"
	"github.com/gapless/gapless/contracts/gaplessv1"
)

var (
	t           *testing.T // of the test that this stands in
	databaseURL string     // of a migrated database
	ledger      = consumers.Consumer{
		Name: "ledger", Topics: []string{"outbox.event.order"}, Types: []string{"OrderConfirmed"},
		Apply: func(_ context.Context, tx consumers.Tx, d consumers.Delivery) error {
			tx.Queue("INSERT INTO ledger (order_id, points) VALUES ($1, 10)", string(d.Key))
			return nil
		},
	}
)

func Example() {
	h := consumerstest.New(t, databaseURL, ledger)
	confirmed := h.Event("order", "o-1", &gaplessv1.OrderConfirmed{OrderId: "o-1"})
	h.Feed(confirmed)
	h.Feed(h.Again(confirmed)) // the relay sent it twice
	fmt.Println(h.Int("SELECT sum(points) FROM ledger"))
}

func ExampleHarness_Crash() {
	h := consumerstest.New(t, databaseURL, ledger)
	confirmed := h.Event("order", "o-1", &gaplessv1.OrderConfirmed{OrderId: "o-1"})
	h.Crash(consumerstest.AfterApply, 1, confirmed) // dies with the row written and not committed
	h.Feed(confirmed)                               // the next process is given it again
	fmt.Println(h.Text("SELECT order_id, points FROM ledger"))
}

func ExampleHarness_Repeatedly() {
	h := consumerstest.New(t, databaseURL, ledger)
	messages := []*consumers.Message{
		h.Event("order", "o-1", &gaplessv1.OrderConfirmed{OrderId: "o-1"}),
		h.Event("order", "o-2", &gaplessv1.OrderConfirmed{OrderId: "o-2"}),
	}
	h.Repeatedly(messages, func() string {
		return h.Text("SELECT order_id, points FROM ledger ORDER BY order_id")
	}, func() {
		h.Pool().Exec(context.Background(), "TRUNCATE ledger") //nolint:errcheck // an example
	})
}

func ExampleHarness_DeadLetters() {
	h := consumerstest.New(t, databaseURL, ledger)
	h.Feed(h.Record("order", "o-1", "OrderConfirmed", []byte("no message")))
	for _, letter := range h.DeadLetters() {
		fmt.Println(letter.Reason, letter.Attempts)
	}
	fmt.Println(h.BlockedKeys(), h.Outcomes())
}
