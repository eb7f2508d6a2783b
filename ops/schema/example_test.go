package schema_test

import (
	"context"
	"fmt"
	"log"
	"testing/fstest"

	"github.com/gapless/gapless/ops/schema"
)

// An example's own contracts; without Protos and Contracts they are Gapless'.
func shop(field string) schema.Config {
	return schema.Config{
		Protos: fstest.MapFS{"shop/v1/order.proto": {Data: []byte(`syntax = "proto3"; package shop.v1;
			message OrderPlaced { string order_id = 1; ` + field + ` }`)}},
		Contracts: []schema.Contract{{Subject: "orders-shop.v1.OrderPlaced", Message: "shop.v1.OrderPlaced"}},
	}
}

// Register, then check a change before it is deployed.
func Example() {
	ctx := context.Background()
	registry, err := schema.StartLocal(ctx, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer func() {
		if err := registry.Close(); err != nil {
			log.Print(err)
		}
	}()

	today := shop("int64 total = 2;")
	today.RegistryURL = registry.URL()
	report, err := schema.Register(ctx, today)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(report.Contracts[0].Status, "as id", report.Contracts[0].ID)

	tomorrow := shop("string total = 2; string shipping_method = 3;")
	tomorrow.RegistryURL = registry.URL()
	report, err = schema.Diff(ctx, tomorrow)
	if err != nil {
		log.Fatal(err)
	}
	for _, change := range report.Contracts[0].Changes {
		fmt.Println(change)
	}
	_, err = schema.Register(ctx, tomorrow)
	fmt.Println(err != nil)
	// Output:
	// new as id 1
	// shop.v1.OrderPlaced.total: changes its type from int64 to string; keep int64 and add a field with a new number, or make a new event type and publish both for a while
	// shop.v1.OrderPlaced.shipping_method: is new (string = 3)
	// true
}
