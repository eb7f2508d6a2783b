-- Any aggregate with an event of a trace. No index: a sequential scan.
SELECT aggregateid
FROM gapless.outbox
WHERE headers ->> 'traceparent' LIKE '00-' || @trace::text || '-%'
LIMIT 1
