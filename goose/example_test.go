package goose_test

import (
	"context"
	"fmt"
	"log"

	"github.com/gapless/gapless/goose"
	"github.com/gapless/gapless/internal/pgserver"
)

// All components, the publication, the group roles and the slot.
func ExampleUp() {
	ctx := context.Background()
	server, err := pgserver.Start(ctx, pgserver.Config{})
	if err != nil {
		log.Fatal(err)
	}
	defer func() {
		if err := server.Stop(ctx); err != nil {
			log.Print(err)
		}
	}()

	config := goose.Config{DatabaseURL: server.SuperuserURL(), Components: []string{"outbox"}}
	applied, err := goose.Up(ctx, config)
	if err != nil {
		log.Fatal(err)
	}
	again, err := goose.Up(ctx, config)
	fmt.Println(len(applied) > 0, len(again), err)
	// Output: true 0 <nil>
}

func ExampleComponents() {
	fmt.Println(goose.Components())
	// Output: [core outbox inbox shop]
}
