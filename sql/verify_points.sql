-- loyalty.points against the confirmed orders whose event its consumer has
-- applied: one point for each whole 100 minor.
WITH confirmed AS (
    SELECT o.order_id, o.customer_id, o.total_minor / 100 AS points, e.id AS event_id, i.outcome,
           coalesce(o.confirmed_at < @outbox_floor::timestamptz, false) AS expired
    FROM checkout.orders AS o
    LEFT JOIN gapless.outbox AS e ON e.aggregateid = o.order_id::text AND e.aggregatetype = 'order' AND e.type = 'OrderConfirmed'
    LEFT JOIN gapless.inbox AS i ON i.event_id = e.id AND i.consumer = @consumer AND i.generation = @generation
    WHERE o.status = 'confirmed'
), c AS (
    SELECT order_id::text AS id,
           CASE WHEN p.order_id IS NULL AND w.outcome IS NULL AND w.event_id IS NOT NULL THEN 'young'
                WHEN p.order_id IS NULL AND w.outcome IN ('parked', 'waiting', 'discarded') THEN 'parked'
                WHEN w.outcome = 'applied' AND p.points = w.points AND p.customer_id = w.customer_id AND p.event_id = w.event_id THEN 'ok'
                WHEN w.event_id IS NULL AND w.expired THEN 'expired'
                ELSE 'broken' END AS verdict,
           CASE WHEN w.order_id IS NULL THEN format('%s points, but the order is not confirmed', p.points)
                ELSE format('%s points for %s, recomputed %s for %s', coalesce(p.points, 0), coalesce(p.customer_id, 'nobody'), w.points, w.customer_id) END AS detail
    FROM loyalty.points AS p
    FULL JOIN confirmed AS w USING (order_id)
)
SELECT count(*) FILTER (WHERE verdict IN ('ok', 'parked', 'broken')) AS judged,
       count(*) FILTER (WHERE verdict = 'young') AS too_young,
       count(*) FILTER (WHERE verdict = 'parked') AS parked,
       count(*) FILTER (WHERE verdict = 'expired') AS expired,
       count(*) FILTER (WHERE verdict = 'broken') AS broken,
       (array_agg(id ORDER BY id) FILTER (WHERE verdict = 'broken'))[1:@examples::int] AS ids,
       (array_agg(detail ORDER BY id) FILTER (WHERE verdict = 'broken'))[1:@examples::int] AS details
FROM c
