package saga_test

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/gapless/gapless/consumers"
	"github.com/gapless/gapless/consumers/saga"
)

func ExampleNew() {
	ctx, cancel := context.WithCancel(context.Background())
	cancel() // a service runs until it is told to stop

	pool, err := pgxpool.New(ctx, "postgres:///gapless")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer pool.Close()
	s := saga.New(saga.Config{Pool: pool, Timeout: 30 * time.Second})
	config := consumers.Config{Pool: pool, Consumers: []consumers.Consumer{s.Consumer()}}
	_ = config              // consumers.Run(ctx, config), and beside it:
	fmt.Println(s.Run(ctx)) // the timers
	// Output: <nil>
}

func ExampleSteps_DOT() {
	fmt.Println(strings.SplitN(saga.Definition().DOT(), "\n", 2)[0])
	// Output: digraph order {
}

func ExampleStepID() {
	order := uuid.MustParse("01890a5d-ac96-774b-bcce-b302099a8057")
	// The same in every process, and another for each step and direction.
	fmt.Println(saga.StepID(order, saga.Forward, saga.Capture))
	fmt.Println(saga.StepID(order, saga.Compensation, saga.Ship))
	// Output:
	// f81ab4d9-afbf-5554-9ae3-45bd22bd3a3a
	// 03e64bcc-4d6e-578e-ac6b-9dba680ee35c
}
