-- Appends events to the outbox, any number in one round trip, in array order.
-- Locks: ROW EXCLUSIVE on gapless.outbox and the partitions written.
INSERT INTO gapless.outbox (id, aggregatetype, aggregateid, aggregate_version, type, payload, headers)
SELECT *
FROM unnest($1::uuid[], $2::text[], $3::text[], $4::bigint[], $5::text[], $6::bytea[], $7::jsonb[])
