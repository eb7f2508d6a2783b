package relay_test

import (
	"context"
	"errors"
	"fmt"
	"os/signal"
	"syscall"

	"github.com/gapless/gapless/relay"
)

func ExampleNew() {
	sink, err := relay.NewKafkaSink(relay.KafkaConfig{Brokers: []string{"localhost:9092"}})
	if err != nil {
		fmt.Println(err)
		return
	}
	r, err := relay.New(relay.Config{DatabaseURL: "postgres://relay@localhost/shop", Sink: sink})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(r.Status().State)
	// Output: starting
}

func ExampleRelay_Run() {
	run := func(r *relay.Relay) int {
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
		defer stop()
		err := r.Run(ctx) // until SIGTERM
		var refusal *relay.Refusal
		switch {
		case err == nil:
			return 0
		case errors.As(err, &refusal):
			fmt.Println(refusal, "-", refusal.Refusal())
			return 3
		}
		fmt.Println(err)
		return 1
	}
	_ = run
}
