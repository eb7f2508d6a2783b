package sql

import _ "embed"

// InventoryReservationsLock locks and reads the reservations of orders.
//
//go:embed inventory_reservations_lock.sql
var InventoryReservationsLock string

// InventoryStockLock locks and reads the stock of SKUs.
//
//go:embed inventory_stock_lock.sql
var InventoryStockLock string

// InventoryReservationsSave writes reservations, new or changed.
//
//go:embed inventory_reservations_save.sql
var InventoryReservationsSave string

// InventoryMovementsAppend writes stock movements.
//
//go:embed inventory_movements_append.sql
var InventoryMovementsAppend string

// InventoryStockMove changes the available stock of SKUs.
//
//go:embed inventory_stock_move.sql
var InventoryStockMove string
