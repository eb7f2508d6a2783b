-- What is available is what there was at first and what has moved since.
WITH moved AS (
    SELECT sku, sum(delta) AS delta
    FROM inventory.stock_movements
    GROUP BY sku
), c AS (
    SELECT sku AS id,
           CASE WHEN s.available = s.initial + coalesce(m.delta, 0) THEN 'ok' ELSE 'broken' END AS verdict,
           CASE WHEN s.sku IS NULL THEN format('movements of %s, but no stock', m.delta)
                ELSE format('available %s, but initial %s and movements of %s', s.available, s.initial, coalesce(m.delta, 0)) END AS detail
    FROM inventory.stock AS s
    FULL JOIN moved AS m USING (sku)
)
SELECT count(*) FILTER (WHERE verdict IN ('ok', 'parked', 'broken')) AS judged,
       count(*) FILTER (WHERE verdict = 'young') AS too_young,
       count(*) FILTER (WHERE verdict = 'parked') AS parked,
       count(*) FILTER (WHERE verdict = 'expired') AS expired,
       count(*) FILTER (WHERE verdict = 'broken') AS broken,
       (array_agg(id ORDER BY id) FILTER (WHERE verdict = 'broken'))[1:@examples::int] AS ids,
       (array_agg(detail ORDER BY id) FILTER (WHERE verdict = 'broken'))[1:@examples::int] AS details
FROM c
