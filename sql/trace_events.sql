-- Every outbox row of an aggregate id, of whatever aggregate type:
-- outbox_aggregate_idx.
SELECT id, aggregatetype, type, coalesce(aggregate_version, 0) AS version, created_at,
       coalesce(headers ->> 'ce_correlationid', '') AS correlation_id,
       coalesce(headers ->> 'ce_causationid', '') AS causation_id,
       coalesce(headers ->> 'gapless_step', '') AS step_id,
       coalesce(headers ->> 'traceparent', '') AS traceparent
FROM gapless.outbox
WHERE aggregateid = @key
ORDER BY created_at, id
LIMIT @limit
