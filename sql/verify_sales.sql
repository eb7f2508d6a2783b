-- analytics.sales_by_hour against the confirmed orders whose event its consumer
-- has applied; effect and claim are one transaction, so the two are equal in
-- every snapshot. Confirmed orders without such a claim are still under way.
WITH confirmed AS (
    SELECT o.order_id, date_trunc('hour', o.confirmed_at, 'UTC') AS hour, o.currency, o.total_minor, e.id AS event_id, i.outcome,
           coalesce(o.confirmed_at < @outbox_floor::timestamptz, false) AS expired
    FROM checkout.orders AS o
    LEFT JOIN gapless.outbox AS e ON e.aggregateid = o.order_id::text AND e.aggregatetype = 'order' AND e.type = 'OrderConfirmed'
    LEFT JOIN gapless.inbox AS i ON i.event_id = e.id AND i.consumer = @consumer AND i.generation = @generation
    WHERE o.status = 'confirmed'
), wanted AS (
    SELECT hour, currency, count(*) AS orders, sum(total_minor) AS revenue_minor
    FROM confirmed
    WHERE outcome = 'applied' OR event_id IS NULL AND expired
    GROUP BY hour, currency
), c AS (
    SELECT to_char(hour AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24"Z"') || ' ' || currency AS id,
           CASE WHEN s.orders = w.orders AND s.revenue_minor = w.revenue_minor THEN 'ok' ELSE 'broken' END AS verdict,
           format('%s orders of %s, recomputed %s of %s', coalesce(s.orders, 0), coalesce(s.revenue_minor, 0),
                  coalesce(w.orders, 0), coalesce(w.revenue_minor, 0)) AS detail
    FROM analytics.sales_by_hour AS s
    FULL JOIN wanted AS w USING (hour, currency)
    UNION ALL
    SELECT order_id::text,
           CASE WHEN event_id IS NULL THEN 'broken' WHEN outcome IS NULL THEN 'young' ELSE 'parked' END,
           'order is confirmed, but no event says so'
    FROM confirmed
    WHERE outcome IS DISTINCT FROM 'applied' AND NOT (event_id IS NULL AND expired)
)
SELECT count(*) FILTER (WHERE verdict IN ('ok', 'parked', 'broken')) AS judged,
       count(*) FILTER (WHERE verdict = 'young') AS too_young,
       count(*) FILTER (WHERE verdict = 'parked') AS parked,
       count(*) FILTER (WHERE verdict = 'expired') AS expired,
       count(*) FILTER (WHERE verdict = 'broken') AS broken,
       (array_agg(id ORDER BY id) FILTER (WHERE verdict = 'broken'))[1:@examples::int] AS ids,
       (array_agg(detail ORDER BY id) FILTER (WHERE verdict = 'broken'))[1:@examples::int] AS details
FROM c
