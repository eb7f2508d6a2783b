-- Sets the available stock by a movement of kind adjust; returns how many
-- changed. Index: stock_pkey. Locks: the stock rows, in order of sku.
WITH locked AS (
    SELECT s.sku, t.stock - s.available AS delta
    FROM unnest($1::text[], $2::bigint[]) AS t (sku, stock)
    JOIN inventory.stock AS s USING (sku)
    WHERE s.available <> t.stock
    ORDER BY s.sku
    FOR UPDATE OF s
), moved AS (
    INSERT INTO inventory.stock_movements (sku, delta, kind)
    SELECT sku, delta, 'adjust'
    FROM locked
), changed AS (
    UPDATE inventory.stock AS s
    SET available = s.available + l.delta, updated_at = clock_timestamp()
    FROM locked AS l
    WHERE s.sku = l.sku
    RETURNING s.sku
)
SELECT count(*)
FROM changed
