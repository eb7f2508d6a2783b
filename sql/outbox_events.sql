-- Every event of the outbox as it was written, for tests of those who append.
-- Locks: ACCESS SHARE.
SELECT id, aggregatetype, aggregateid, aggregate_version, type, payload, headers, created_at
FROM gapless.outbox
ORDER BY id
