package catalog

import (
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"

	"github.com/gapless/gapless/sql"
)

// columns of the file, in any order.
var columns = []string{"sku", "name", "price_minor", "currency", "stock"}

// maxRows bounds what one transaction takes.
const maxRows = 1_000_000

// Product is one line of the file.
type Product struct {
	SKU        string
	Name       string
	PriceMinor int64
	Currency   string
	Stock      int64
}

// Report counts what an import did.
type Report struct {
	Products int `json:"products"` // lines of the file
	New      int `json:"new"`      // SKUs that had no stock before
	Adjusted int `json:"adjusted"` // stocks that a recount changed
}

// Read parses a CSV with the header sku,name,price_minor,currency,stock. Errors
// name line and column.
func Read(r io.Reader) ([]Product, error) {
	c := csv.NewReader(r)
	c.ReuseRecord = true
	header, err := c.Read()
	if errors.Is(err, io.EOF) {
		return nil, errors.New("the file is empty; its first line must be sku,name,price_minor,currency,stock")
	}
	if err != nil {
		return nil, fmt.Errorf("read header: %w", err)
	}
	index := make([]int, len(columns))
	for i, name := range columns {
		if index[i] = slices.Index(header, name); index[i] < 0 {
			return nil, fmt.Errorf("column %q is missing; the first line must be sku,name,price_minor,currency,stock", name)
		}
	}
	var list []Product
	seen := make(map[string]int)
	for {
		record, err := c.Read()
		if errors.Is(err, io.EOF) {
			return list, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read products: %w", err)
		}
		line, _ := c.FieldPos(0)
		p, err := product(record, index)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", line, err)
		}
		if first, ok := seen[p.SKU]; ok {
			return nil, fmt.Errorf("line %d: sku %q stands in line %d already", line, p.SKU, first)
		}
		if seen[p.SKU] = line; len(list) == maxRows {
			return nil, fmt.Errorf("line %d: more than %d products; split the file", line, maxRows)
		}
		list = append(list, p)
	}
}

func product(record []string, index []int) (p Product, err error) {
	p.SKU, p.Name, p.Currency = record[index[0]], record[index[1]], record[index[3]]
	switch {
	case p.SKU == "" || len(p.SKU) > 64 || !utf8.ValidString(p.SKU):
		return p, fmt.Errorf("sku %q must have 1 to 64 bytes of UTF-8", p.SKU)
	case p.Name == "" || !utf8.ValidString(p.Name):
		return p, errors.New("name must be UTF-8 and not empty")
	case len(p.Currency) != 3 || !isUpper(p.Currency):
		return p, fmt.Errorf("currency %q must be three capital letters (ISO 4217)", p.Currency)
	}
	if p.PriceMinor, err = amount("price_minor", record[index[2]], 1_000_000_000_000); err != nil {
		return p, err
	}
	p.Stock, err = amount("stock", record[index[4]], 1_000_000_000_000)
	return p, err
}

func amount(column, text string, limit int64) (int64, error) {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 || n > limit {
		return 0, fmt.Errorf("%s %q must be a whole number from 0 to %d", column, text, limit)
	}
	return n, nil
}

func isUpper(s string) bool {
	for _, b := range []byte(s) {
		if b < 'A' || b > 'Z' {
			return false
		}
	}
	return true
}

// Beginner is what Import needs of a connection or pool.
type Beginner interface {
	Begin(ctx context.Context) (pgx.Tx, error)
}

// Import writes the products in one transaction. setStock recounts the stock of
// SKUs that exist already; see the package comment.
func Import(ctx context.Context, db Beginner, products []Product, setStock bool) (Report, error) {
	n := len(products)
	skus, names, currencies := make([]string, n), make([]string, n), make([]string, n)
	prices, stocks := make([]int64, n), make([]int64, n)
	// Sorted, so that two imports at once cannot deadlock.
	sorted := slices.Clone(products)
	slices.SortFunc(sorted, func(a, b Product) int {
		switch {
		case a.SKU < b.SKU:
			return -1
		case a.SKU > b.SKU:
			return 1
		}
		return 0
	})
	for i, p := range sorted {
		skus[i], names[i], prices[i], currencies[i], stocks[i] = p.SKU, p.Name, p.PriceMinor, p.Currency, p.Stock
	}
	report := Report{Products: n}
	err := pgx.BeginFunc(ctx, db, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, sql.CheckoutProductsUpsert, skus, names, prices, currencies); err != nil {
			return fmt.Errorf("write products: %w", err)
		}
		if err := tx.QueryRow(ctx, sql.InventoryStockCreate, skus, stocks).Scan(&report.New); err != nil {
			return fmt.Errorf("write stock: %w", err)
		}
		if !setStock {
			return nil
		}
		if err := tx.QueryRow(ctx, sql.InventoryStockAdjust, skus, stocks).Scan(&report.Adjusted); err != nil {
			return fmt.Errorf("adjust stock: %w", err)
		}
		return nil
	})
	return report, err
}
