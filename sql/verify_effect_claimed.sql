-- Each row that tells which event it is the effect of: once, and under a claim
-- of the consumer that wrote it. Claims older than the inbox keeps are expired.
WITH effect AS (
    SELECT 'loyalty' AS consumer, event_id, 'points' AS what, count(*) AS n, min(created_at) AS at
    FROM loyalty.points
    GROUP BY event_id
    UNION ALL
    SELECT 'notification', event_id, 'message', count(*), min(created_at)
    FROM notification.messages
    GROUP BY event_id
    UNION ALL
    SELECT 'inventory', event_id, kind || ' of ' || sku, count(*), min(created_at)
    FROM inventory.stock_movements
    WHERE event_id IS NOT NULL
    GROUP BY event_id, kind, sku
), claim AS (
    SELECT DISTINCT consumer, event_id
    FROM gapless.inbox
    WHERE consumer IN ('loyalty', 'notification', 'inventory') AND outcome = 'applied'
), c AS (
    SELECT consumer || ' ' || event_id AS id,
           CASE WHEN e.n > 1 THEN 'broken'
                WHEN k.event_id IS NOT NULL THEN 'ok'
                WHEN e.at < @inbox_floor::timestamptz THEN 'expired'
                ELSE 'broken' END AS verdict,
           CASE WHEN e.n > 1 THEN format('%s %s times', e.what, e.n)
                ELSE format('%s without a claim in the inbox', e.what) END AS detail
    FROM effect AS e
    LEFT JOIN claim AS k USING (consumer, event_id)
)
SELECT count(*) FILTER (WHERE verdict IN ('ok', 'parked', 'broken')) AS judged,
       count(*) FILTER (WHERE verdict = 'young') AS too_young,
       count(*) FILTER (WHERE verdict = 'parked') AS parked,
       count(*) FILTER (WHERE verdict = 'expired') AS expired,
       count(*) FILTER (WHERE verdict = 'broken') AS broken,
       (array_agg(id ORDER BY id) FILTER (WHERE verdict = 'broken'))[1:@examples::int] AS ids,
       (array_agg(detail ORDER BY id) FILTER (WHERE verdict = 'broken'))[1:@examples::int] AS details
FROM c
