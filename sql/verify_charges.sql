-- The provider's ledger against ours, for orders at which nothing is under way:
-- those that are final, and those in review while their saga waits. One charge for
-- a payment, equal in state and amounts. A charge that our side never heard of
-- must be voided. What looks broken but has just changed is too young.
WITH charge AS (
    SELECT order_id, count(*) AS n, min(charge_id) AS charge_id, min(status) AS status, min(currency) AS currency,
           sum(amount_minor) AS amount_minor, sum(captured_minor) AS captured_minor, sum(refunded_minor) AS refunded_minor,
           max(updated_at) AS updated_at
    FROM sandbox.charges
    GROUP BY order_id
), c AS (
    SELECT order_id::text AS id,
           CASE WHEN o.status = 'needs_attention' THEN 'parked'
                WHEN o.status = 'pending' OR o.status = 'in_review' AND NOT w.waits THEN 'young'
                WHEN o.order_id IS NOT NULL AND v.equal THEN CASE o.status WHEN 'in_review' THEN 'parked' ELSE 'ok' END
                WHEN greatest(o.updated_at, p.updated_at, c.updated_at) > clock_timestamp() - make_interval(secs => @young::float8) THEN 'young'
                ELSE 'broken' END AS verdict,
           CASE WHEN o.order_id IS NULL THEN 'there is no such order'
                ELSE format('payment %s %s of %s (captured %s, refunded %s); %s charge(s) %s of %s (captured %s, refunded %s)',
                            coalesce(p.charge_id, '-'), coalesce(p.status, 'missing'), coalesce(p.amount_minor, 0),
                            coalesce(p.captured_minor, 0), coalesce(p.refunded_minor, 0),
                            coalesce(c.n, 0), coalesce(c.status, '-'), coalesce(c.amount_minor, 0),
                            coalesce(c.captured_minor, 0), coalesce(c.refunded_minor, 0)) END AS detail
    FROM payment.payments AS p
    FULL JOIN charge AS c USING (order_id)
    LEFT JOIN checkout.orders AS o USING (order_id)
    CROSS JOIN LATERAL (SELECT EXISTS (SELECT FROM gapless.saga AS s WHERE s.order_id = o.order_id AND s.status = 'waiting') AS waits) AS w
    CROSS JOIN LATERAL (SELECT coalesce(
        CASE WHEN p.charge_id IS NOT NULL
             THEN c.n = 1 AND c.charge_id = p.charge_id AND c.status = p.status AND c.currency = p.currency
                  AND c.amount_minor = p.amount_minor AND c.captured_minor = p.captured_minor AND c.refunded_minor = p.refunded_minor
             ELSE coalesce(p.status, 'voided') IN ('declined', 'voided')
                  AND (c.n IS NULL OR c.n = 1 AND c.status = 'voided' AND c.captured_minor = 0) END,
        false) AS equal) AS v
)
SELECT count(*) FILTER (WHERE verdict IN ('ok', 'parked', 'broken')) AS judged,
       count(*) FILTER (WHERE verdict = 'young') AS too_young,
       count(*) FILTER (WHERE verdict = 'parked') AS parked,
       count(*) FILTER (WHERE verdict = 'expired') AS expired,
       count(*) FILTER (WHERE verdict = 'broken') AS broken,
       (array_agg(id ORDER BY id) FILTER (WHERE verdict = 'broken'))[1:@examples::int] AS ids,
       (array_agg(detail ORDER BY id) FILTER (WHERE verdict = 'broken'))[1:@examples::int] AS details
FROM c
