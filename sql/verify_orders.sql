-- Each order has a saga once the saga's consumer has taken its OrderPlaced, and
-- moves only with it.
WITH placed AS (
    SELECT e.aggregateid, bool_or(i.event_id IS NOT NULL AND i.outcome = 'applied') AS applied,
           bool_or(coalesce(i.outcome IN ('parked', 'waiting', 'discarded'), false)) AS parked
    FROM gapless.outbox AS e
    LEFT JOIN gapless.inbox AS i ON i.event_id = e.id AND i.consumer = 'saga'
    WHERE e.aggregatetype = 'order' AND e.type = 'OrderPlaced'
    GROUP BY e.aggregateid
), c AS (
    SELECT o.order_id::text AS id,
           CASE WHEN s.order_id IS NOT NULL THEN 'ok'
                WHEN p.parked THEN 'parked'
                WHEN p.applied OR o.status <> 'pending' THEN 'broken'
                WHEN p.aggregateid IS NULL AND (o.created_at >= @outbox_floor::timestamptz OR @outbox_floor::timestamptz IS NULL) THEN 'broken'
                ELSE 'young' END AS verdict,
           CASE WHEN p.aggregateid IS NULL THEN format('order is %s and was never announced', o.status)
                ELSE format('order is %s and has no saga', o.status) END AS detail
    FROM checkout.orders AS o
    LEFT JOIN gapless.saga AS s USING (order_id)
    LEFT JOIN placed AS p ON p.aggregateid = o.order_id::text
)
SELECT count(*) FILTER (WHERE verdict IN ('ok', 'parked', 'broken')) AS judged,
       count(*) FILTER (WHERE verdict = 'young') AS too_young,
       count(*) FILTER (WHERE verdict = 'parked') AS parked,
       count(*) FILTER (WHERE verdict = 'expired') AS expired,
       count(*) FILTER (WHERE verdict = 'broken') AS broken,
       (array_agg(id ORDER BY id) FILTER (WHERE verdict = 'broken'))[1:@examples::int] AS ids,
       (array_agg(detail ORDER BY id) FILTER (WHERE verdict = 'broken'))[1:@examples::int] AS details
FROM c
