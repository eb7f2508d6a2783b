package sql

import _ "embed"

// CheckoutProductsUpsert writes products of the catalogue.
//
//go:embed catalog_products_upsert.sql
var CheckoutProductsUpsert string

// InventoryStockCreate gives new SKUs their initial stock.
//
//go:embed catalog_stock_create.sql
var InventoryStockCreate string

// InventoryStockAdjust recounts the stock of SKUs that exist.
//
//go:embed catalog_stock_adjust.sql
var InventoryStockAdjust string
