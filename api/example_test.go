package api_test

import (
	"context"
	"fmt"
	"log/slog"
	"os/signal"
	"syscall"

	"github.com/jackc/pgx/v5"

	"github.com/gapless/gapless/api"
)

func ExampleServer_Run() {
	server, err := api.New(api.Config{DatabaseURL: "postgres://shop@127.0.0.1/shop", OpsListen: "127.0.0.1:9081"})
	if err != nil {
		slog.Error("configure", "error", err)
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	if err := server.Run(ctx); err != nil { // blocks until the signal
		slog.Error("run", "error", err)
	}
}

func ExampleNew_refused() {
	_, err := api.New(api.Config{DatabaseURL: "postgres://shop@127.0.0.1/shop", Listen: "0.0.0.0:8080", Auth: api.AuthNone})
	fmt.Println(err)
	// Output: Auth: none would let anybody in on 0.0.0.0:8080, which is not a loopback address; use keys, or listen on 127.0.0.1
}

func ExampleCreateKey() {
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, "postgres://owner@127.0.0.1/shop")
	if err != nil {
		slog.Error("connect", "error", err)
		return
	}
	defer conn.Close(ctx)
	key, err := api.CreateKey(ctx, conn, "web shop", api.RoleCustomer)
	if err != nil {
		slog.Error("create key", "error", err)
		return
	}
	fmt.Println("Authorization: Bearer", key) // shown once, stored nowhere
}

func ExampleStoreKey() {
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, "postgres://owner@127.0.0.1/shop")
	if err != nil {
		slog.Error("connect", "error", err)
		return
	}
	defer conn.Close(ctx)
	if err := api.StoreKey(ctx, conn, "development", api.RoleOperator, "development-key-1"); err != nil {
		slog.Error("store key", "error", err)
	}
}

func ExampleOpenAPI() {
	fmt.Println(string(api.OpenAPI()[:14]))
	// Output: openapi: 3.0.3
}
