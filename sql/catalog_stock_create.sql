-- Gives SKUs that have no stock their initial stock; returns how many.
-- Index: stock_pkey. Locks: the rows made.
WITH made AS (
    INSERT INTO inventory.stock (sku, initial, available)
    SELECT sku, stock, stock
    FROM unnest($1::text[], $2::bigint[]) AS t (sku, stock)
    ON CONFLICT (sku) DO NOTHING
    RETURNING sku
)
SELECT count(*)
FROM made
