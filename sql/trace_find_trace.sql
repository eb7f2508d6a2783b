-- The order placed under a trace id, else any aggregate with an event of that
-- trace. No index: a sequential scan of the orders first, of the outbox second.
SELECT key
FROM (SELECT 1 AS rank, order_id::text AS key FROM checkout.orders WHERE traceparent LIKE '00-' || @trace::text || '-%'
      UNION ALL
      SELECT 2, aggregateid FROM gapless.outbox WHERE headers ->> 'traceparent' LIKE '00-' || @trace::text || '-%') AS f
ORDER BY rank
LIMIT 1
