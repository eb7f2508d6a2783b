-- Moves the available stock of a batch's SKUs; stock_available_check refuses
-- to go below zero.
-- Index: stock_pkey. Locks: rows that inventory_stock_lock holds already.
UPDATE inventory.stock AS s
SET available = s.available + m.delta, updated_at = clock_timestamp()
FROM unnest($1::text[], $2::bigint[]) AS m (sku, delta)
WHERE s.sku = m.sku
