package api

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/gapless/gapless/sql"
)

// product is a row of the catalogue.
type product struct {
	Sku        string `db:"sku"`
	Name       string `db:"name"`
	PriceMinor int64  `db:"price_minor"`
	Currency   string `db:"currency"`
}

// catalogue remembers prices for a moment. A SKU that does not exist is not
// remembered: it may be imported any time, and its sender can wait for a query.
type catalogue struct {
	db  *pgxpool.Pool
	age time.Duration

	mu    sync.Mutex
	known map[string]rememberedProduct
}

type rememberedProduct struct {
	product
	until time.Time
}

// find returns the products of the items that exist, by SKU.
func (c *catalogue) find(ctx context.Context, items []PlaceOrderItem) (map[string]product, error) {
	found := make(map[string]product, len(items))
	var missing []string
	now := time.Now()
	c.mu.Lock()
	for _, item := range items {
		if p, ok := c.known[item.Sku]; ok && now.Before(p.until) {
			found[item.Sku] = p.product
		} else {
			missing = append(missing, item.Sku)
		}
	}
	c.mu.Unlock()
	if len(missing) == 0 {
		return found, nil
	}
	rows, err := c.db.Query(ctx, sql.CheckoutProductsFind, missing)
	if err != nil {
		return nil, fmt.Errorf("find products: %w", err)
	}
	products, err := pgx.CollectRows(rows, pgx.RowToStructByName[product])
	if err != nil {
		return nil, fmt.Errorf("find products: %w", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.known == nil || len(c.known)+len(products) > maxRemembered {
		c.known = make(map[string]rememberedProduct)
	}
	for _, p := range products {
		found[p.Sku] = p
		if c.age > 0 {
			// From before the query: the price may have changed since.
			c.known[p.Sku] = rememberedProduct{p, now.Add(c.age)}
		}
	}
	return found, nil
}

// price returns the unit price of each item and the total, or a problem that
// names every item that cannot be sold.
func price(o *PlaceOrder, products map[string]product) (unit []int64, total int64, err error) {
	var f faults
	unit = make([]int64, len(o.Items))
	for i, item := range o.Items {
		at := "/items/" + strconv.Itoa(i)
		p, ok := products[item.Sku]
		switch {
		case !ok:
			f.add(at+"/sku", "unknown_sku", "is not in the catalogue")
			continue
		case p.Currency != o.Currency:
			f.add("/currency", "wrong_currency", "is not the currency of item %d, which is sold in %s", i, p.Currency)
			continue
		}
		unit[i] = p.PriceMinor
		// Both factors are bounded by the schema (10^12, 10^4) and the sum by the
		// check: no product and no sum leaves int64.
		if total += p.PriceMinor * int64(item.Quantity); total > maxTotal {
			f.add("/items", "total_too_large", "come to more than an order may cost")
			break
		}
	}
	if len(f.list) > 0 {
		return nil, 0, &problem{kind: kindInvalid, detail: f.summary(), faults: f.list}
	}
	return unit, total, nil
}
