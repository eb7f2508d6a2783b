-- What we hold for an order that is final: its total if it is confirmed and was
-- to be paid, else nothing. Nothing either for one in review, while its saga waits.
WITH c AS (
    SELECT o.order_id::text AS id,
           CASE WHEN o.status = 'needs_attention' THEN 'parked'
                WHEN o.status = 'pending' OR o.status = 'in_review' AND NOT w.waits THEN 'young'
                WHEN v.held = v.due THEN CASE o.status WHEN 'in_review' THEN 'parked' ELSE 'ok' END
                WHEN greatest(o.updated_at, p.updated_at) > clock_timestamp() - make_interval(secs => @young::float8) THEN 'young'
                ELSE 'broken' END AS verdict,
           format('order is %s (%s), %s captured and not refunded, %s due', o.status, o.plan, v.held, v.due) AS detail
    FROM checkout.orders AS o
    LEFT JOIN payment.payments AS p USING (order_id)
    CROSS JOIN LATERAL (SELECT EXISTS (SELECT FROM gapless.saga AS s WHERE s.order_id = o.order_id AND s.status = 'waiting') AS waits) AS w
    CROSS JOIN LATERAL (SELECT coalesce(p.captured_minor - p.refunded_minor, 0) AS held,
                               CASE WHEN o.status = 'confirmed' AND o.plan = 'standard' THEN o.total_minor ELSE 0 END AS due) AS v
)
SELECT count(*) FILTER (WHERE verdict IN ('ok', 'parked', 'broken')) AS judged,
       count(*) FILTER (WHERE verdict = 'young') AS too_young,
       count(*) FILTER (WHERE verdict = 'parked') AS parked,
       count(*) FILTER (WHERE verdict = 'expired') AS expired,
       count(*) FILTER (WHERE verdict = 'broken') AS broken,
       (array_agg(id ORDER BY id) FILTER (WHERE verdict = 'broken'))[1:@examples::int] AS ids,
       (array_agg(detail ORDER BY id) FILTER (WHERE verdict = 'broken'))[1:@examples::int] AS details
FROM c
