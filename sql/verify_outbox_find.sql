-- Rows by id: outbox_pkey of each partition.
SELECT id, aggregatetype, aggregateid, coalesce(aggregate_version, 0) AS version, type, created_at
FROM gapless.outbox
WHERE id = ANY (@ids::uuid[])
