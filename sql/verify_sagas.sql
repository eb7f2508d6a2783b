-- Each saga is over, waits visibly for a person, or has a deadline ahead at
-- which its timer acts; and the order says the same, being written with it.
-- Deadlines that have passed a moment ago belong to a timer about to act.
WITH c AS (
    SELECT s.saga_id::text AS id,
           CASE WHEN s.status = 'completed' AND o.status = 'confirmed' THEN 'ok'
                WHEN s.status = 'cancelled' AND o.status = 'cancelled' THEN 'ok'
                WHEN s.status = 'waiting' AND o.status = 'in_review' THEN 'parked'
                WHEN s.status = 'needs_attention' AND o.status = 'needs_attention' THEN 'parked'
                -- A cancellation that overtook its OrderPlaced waits for that.
                WHEN s.status = 'waiting' AND o.status = 'pending' AND NOT EXISTS (
                    SELECT FROM gapless.outbox AS e
                    JOIN gapless.inbox AS i ON i.event_id = e.id AND i.consumer = 'saga'
                    WHERE e.aggregateid = s.order_id::text AND e.aggregatetype = 'order' AND e.type = 'OrderPlaced') THEN 'young'
                WHEN s.status IN ('running', 'compensating') AND o.order_id IS NOT NULL
                     AND s.deadline > clock_timestamp() - make_interval(secs => @young::float8) THEN 'young'
                ELSE 'broken' END AS verdict,
           CASE WHEN s.status NOT IN ('running', 'compensating')
                THEN format('saga is %s, order is %s', s.status, coalesce(o.status, 'missing'))
                WHEN o.order_id IS NULL THEN 'there is no such order'
                WHEN s.deadline IS NULL THEN format('saga is %s at step %s and nothing will wake it', s.status, s.step)
                ELSE format('saga is %s at step %s, due since %s', s.status, s.step, s.deadline) END AS detail
    FROM gapless.saga AS s
    LEFT JOIN checkout.orders AS o USING (order_id)
)
SELECT count(*) FILTER (WHERE verdict IN ('ok', 'parked', 'broken')) AS judged,
       count(*) FILTER (WHERE verdict = 'young') AS too_young,
       count(*) FILTER (WHERE verdict = 'parked') AS parked,
       count(*) FILTER (WHERE verdict = 'expired') AS expired,
       count(*) FILTER (WHERE verdict = 'broken') AS broken,
       (array_agg(id ORDER BY id) FILTER (WHERE verdict = 'broken'))[1:@examples::int] AS ids,
       (array_agg(detail ORDER BY id) FILTER (WHERE verdict = 'broken'))[1:@examples::int] AS details
FROM c
