-- Writes the reservations of a batch as they are after its last message.
-- Index: reservations_pkey. Locks: the rows written, in array order (sorted).
INSERT INTO inventory.reservations AS r (order_id, status, items, version, step_id, reason)
SELECT *
FROM unnest($1::uuid[], $2::text[], $3::jsonb[], $4::bigint[], $5::uuid[], $6::text[])
ON CONFLICT (order_id) DO UPDATE
SET status = excluded.status, version = excluded.version, step_id = coalesce(excluded.step_id, r.step_id), updated_at = clock_timestamp()
