-- Writes the shipments of a batch as they are after its last message.
-- Index: shipments_pkey. Locks: the rows written, in array order (sorted).
INSERT INTO fulfillment.shipments AS s (order_id, status, address, tracking_number, reason, version, step_ids)
SELECT order_id, status, address, nullif(tracking_number, ''), nullif(reason, ''), version, step_ids
FROM unnest($1::uuid[], $2::text[], $3::jsonb[], $4::text[], $5::text[], $6::bigint[], $7::jsonb[])
    AS t (order_id, status, address, tracking_number, reason, version, step_ids)
ON CONFLICT (order_id) DO UPDATE
SET status = excluded.status, version = excluded.version, step_ids = excluded.step_ids, updated_at = clock_timestamp()
