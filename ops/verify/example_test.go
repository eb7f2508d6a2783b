package verify_test

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/gapless/gapless/ops/verify"
)

func ExampleRun() {
	var ctx context.Context // the program's
	judge := func() error {
		report, err := verify.Run(ctx, verify.Config{
			DatabaseURL: os.Getenv("GAPLESS_DATABASE_URL"),
			Brokers:     []string{"127.0.0.1:9092"},
			Consumers:   []verify.Consumer{{Name: "loyalty", Topics: []string{"outbox.event.order"}}},
		})
		if err != nil {
			return err
		}
		if err := report.WriteText(os.Stdout); err != nil {
			return err
		}
		if report.Broken() {
			return errors.New("an invariant is broken")
		}
		return nil
	}
	_ = judge
}

func ExampleReport_Broken() {
	report := verify.Report{Invariants: []verify.Invariant{
		{Number: 1, Name: "no loss", Counts: verify.Counts{Judged: 10}},
		{Number: 2, Name: "no phantom", Counts: verify.Counts{Judged: 10, Broken: 1}},
	}}
	fmt.Println(report.Broken())
	// Output: true
}
