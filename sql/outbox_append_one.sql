-- Appends one event, for drivers without arrays.
-- Locks: ROW EXCLUSIVE on gapless.outbox and the partition written.
INSERT INTO gapless.outbox (id, aggregatetype, aggregateid, aggregate_version, type, payload, headers)
VALUES ($1::uuid, $2, $3, $4, $5, $6, $7::jsonb)
