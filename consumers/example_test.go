package consumers_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"time"

	"github.com/gapless/gapless/consumers"
	"github.com/gapless/gapless/outbox"
)

var points = consumers.Consumer{
	Name: "points", Topics: []string{"outbox.event.order"}, Types: []string{"OrderConfirmed"},
	Apply: func(_ context.Context, tx consumers.Tx, d consumers.Delivery) error {
		tx.Queue("INSERT INTO points (order_id, points) VALUES ($1, 10)", string(d.Key))
		return nil
	},
}

func ExampleRun() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	err := consumers.Run(ctx, consumers.Config{
		DatabaseURL: os.Getenv("DATABASE_URL"),
		Brokers:     []string{"localhost:9092"},
		Consumers:   []consumers.Consumer{points},
	})
	if err != nil {
		fmt.Println(err)
	}
}

func ExampleNew() {
	_, err := consumers.New(consumers.Config{
		DatabaseURL: "postgres://localhost/shop",
		Consumers:   []consumers.Consumer{points},
		BatchSize:   -1,
	})
	fmt.Println(err)
	// Output:
	// config: BatchSize is negative
	// config: Brokers is empty
}

func ExampleRunner_Status() {
	r, err := consumers.New(consumers.Config{
		DatabaseURL: "postgres://localhost/shop",
		Brokers:     []string{"localhost:9092"},
		Consumers:   []consumers.Consumer{points},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, s := range r.Status() { // while Run runs, elsewhere
		fmt.Println(s.Consumer, s.Group, len(s.Partitions))
	}
	// Output: points gapless.points 0
}

func ExampleNewInbox() {
	inbox, err := consumers.NewInbox(consumers.Config{DatabaseURL: "postgres://localhost/shop"}, points)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer inbox.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	outcomes, err := inbox.Process(ctx) // the messages of another transport
	fmt.Println(outcomes, err)
	// Output: [] <nil>
}

func ExamplePoison() {
	err := consumers.Poison("undecodable", errors.New("unexpected end of JSON input"))
	fmt.Println(consumers.IsPoison(fmt.Errorf("apply: %w", err)), err)
	// Output: true undecodable: unexpected end of JSON input
}

func ExampleUnavailable() {
	err := consumers.Unavailable(&net.OpError{Op: "dial", Net: "tcp", Err: errors.New("connection refused")})
	fmt.Println(consumers.IsUnavailable(err), err)
	// Output: true dial tcp: connection refused
}

func ExampleTx() {
	_ = consumers.Consumer{
		Name: "billing", Topics: []string{"outbox.event.order"}, Types: []string{"OrderPlaced"},
		Apply: func(ctx context.Context, tx consumers.Tx, d consumers.Delivery) error {
			// One pipeline for the whole batch, at its end.
			tx.Queue("INSERT INTO invoices (order_id) VALUES ($1)", string(d.Key))
			// An event in the same transaction, with correlation and trace of d.
			return tx.Emit(ctx, d.Message, outbox.Event{
				AggregateType: "invoice", AggregateID: string(d.Key), Type: "InvoiceDrawn", Payload: []byte("{}"),
			})
		},
	}
}

func ExampleMessageID() {
	headers := []consumers.Header{{Name: "id", Value: []byte("0199ee00-0000-7000-8000-00000000000a")}}
	fmt.Println(consumers.MessageID("outbox.event.order", 0, 17, headers))
	// Output: 0199ee00-0000-7000-8000-00000000000a
}

func ExampleDecodeHeaders() {
	headers, err := consumers.DecodeHeaders([]byte(`[["ce_type","T3JkZXJQbGFjZWQ="]]`))
	fmt.Printf("%s=%s %v\n", headers[0].Name, headers[0].Value, err)
	// Output: ce_type=OrderPlaced <nil>
}

func ExampleMessage_Header() {
	m := consumers.Message{Headers: []consumers.Header{{Name: "ce_correlationid", Value: []byte("saga-1")}}}
	fmt.Println(m.CorrelationID(), m.Replayed())
	// Output: saga-1 false
}
