-- The newest events of the outbox, payload readable whatever its encoding.
-- Filters, each optional:
--   SET gapless.aggregate_type = 'order';  SET gapless.aggregate_id = '…';
--   SET gapless.type = 'OrderPlaced';      SET gapless.since = '1 hour';
-- Index: outbox_pkey backwards; outbox_aggregate_idx with an aggregate_id.
-- Locks: ACCESS SHARE.
SELECT id, created_at, aggregatetype, aggregateid, aggregate_version AS version, type, payload, headers
FROM gapless.outbox_readable
WHERE (coalesce(current_setting('gapless.aggregate_type', true), '') IN ('', aggregatetype))
  AND (coalesce(current_setting('gapless.aggregate_id', true), '') IN ('', aggregateid))
  AND (coalesce(current_setting('gapless.type', true), '') IN ('', type))
  AND created_at >= now() - coalesce(nullif(current_setting('gapless.since', true), ''), '1 day')::interval
ORDER BY id DESC
LIMIT 100
