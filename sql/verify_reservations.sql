-- Each line of a standing reservation has moved once, and nothing else has for
-- an order: reservation and movements are one transaction.
WITH wanted AS (
    SELECT r.order_id, l.sku, -sum(l.quantity) AS delta
    FROM inventory.reservations AS r
    CROSS JOIN LATERAL jsonb_to_recordset(r.items) AS l (sku text, quantity bigint)
    WHERE r.status = 'reserved'
    GROUP BY r.order_id, l.sku
), moved AS (
    SELECT order_id, sku, sum(delta) AS delta
    FROM inventory.stock_movements
    WHERE order_id IS NOT NULL
    GROUP BY order_id, sku
), c AS (
    SELECT order_id || ' ' || sku AS id,
           CASE WHEN coalesce(w.delta, 0) = coalesce(m.delta, 0) THEN 'ok' ELSE 'broken' END AS verdict,
           format('reserved %s, moved %s', -coalesce(w.delta, 0), -coalesce(m.delta, 0)) AS detail
    FROM wanted AS w
    FULL JOIN moved AS m USING (order_id, sku)
)
SELECT count(*) FILTER (WHERE verdict IN ('ok', 'parked', 'broken')) AS judged,
       count(*) FILTER (WHERE verdict = 'young') AS too_young,
       count(*) FILTER (WHERE verdict = 'parked') AS parked,
       count(*) FILTER (WHERE verdict = 'expired') AS expired,
       count(*) FILTER (WHERE verdict = 'broken') AS broken,
       (array_agg(id ORDER BY id) FILTER (WHERE verdict = 'broken'))[1:@examples::int] AS ids,
       (array_agg(detail ORDER BY id) FILTER (WHERE verdict = 'broken'))[1:@examples::int] AS details
FROM c
