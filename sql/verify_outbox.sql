-- Every outbox row of the snapshot. Sequential scan, no lock but ACCESS SHARE.
SELECT id, aggregatetype, aggregateid, coalesce(aggregate_version, 0) AS version, type, created_at
FROM gapless.outbox
