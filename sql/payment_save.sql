-- Writes the payments of a batch as they are after its last message.
-- Index: payments_pkey. Locks: the rows written, in array order (sorted).
INSERT INTO payment.payments AS p (order_id, status, currency, amount_minor, captured_minor, refunded_minor, charge_id, flagged, reason, version, step_ids)
SELECT order_id, status, currency, amount_minor, captured_minor, refunded_minor, nullif(charge_id, ''), flagged, nullif(reason, ''), version, step_ids
FROM unnest($1::uuid[], $2::text[], $3::text[], $4::bigint[], $5::bigint[], $6::bigint[], $7::text[], $8::boolean[], $9::text[], $10::bigint[], $11::jsonb[])
    AS t (order_id, status, currency, amount_minor, captured_minor, refunded_minor, charge_id, flagged, reason, version, step_ids)
ON CONFLICT (order_id) DO UPDATE
SET status = excluded.status, captured_minor = excluded.captured_minor, refunded_minor = excluded.refunded_minor, reason = excluded.reason,
    version = excluded.version, step_ids = excluded.step_ids, updated_at = clock_timestamp()
