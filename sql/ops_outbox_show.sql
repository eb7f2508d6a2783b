-- One row, its payload readable whatever its encoding: outbox_pkey.
SELECT o.id, o.created_at, o.aggregatetype, o.aggregateid, coalesce(o.aggregate_version, 0) AS version, o.type,
       coalesce(octet_length(o.payload), 0) AS payload_bytes, coalesce(o.headers ->> 'content-type', '') AS content_type,
       r.payload, o.headers
FROM gapless.outbox AS o
JOIN gapless.outbox_readable AS r USING (id, created_at)
WHERE o.id = @id
LIMIT 1
