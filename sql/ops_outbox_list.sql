-- The newest rows of the outbox; a filter that is empty takes all.
-- Index: outbox_pkey backwards; outbox_aggregate_idx with an aggregate_id.
-- Locks: ACCESS SHARE.
SELECT id, created_at, aggregatetype, aggregateid, coalesce(aggregate_version, 0) AS version, type,
       coalesce(octet_length(payload), 0) AS payload_bytes, coalesce(headers ->> 'content-type', '') AS content_type
FROM gapless.outbox
WHERE (@aggregate_type::text = '' OR aggregatetype = @aggregate_type)
  AND (@aggregate_id::text = '' OR aggregateid = @aggregate_id)
  AND (@type::text = '' OR type = @type)
  AND created_at >= @since::timestamptz
ORDER BY id DESC
LIMIT @limit
