-- Notes messages that moved no saga: kept, never applied.
-- Index: saga_ignored_reply_pkey. Locks: ROW EXCLUSIVE.
INSERT INTO gapless.saga_ignored_reply (saga_id, event_id, type, step_id, why)
SELECT *
FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::uuid[], $5::text[])
ON CONFLICT DO NOTHING
