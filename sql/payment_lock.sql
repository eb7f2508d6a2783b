-- Reads the payments of a batch's orders.
-- Index: payments_pkey. Locks: the rows FOR UPDATE, in order of order_id.
SELECT order_id, status, currency, amount_minor, captured_minor, refunded_minor, coalesce(charge_id, '') AS charge_id,
       flagged, coalesce(reason, '') AS reason, version, step_ids
FROM payment.payments
WHERE order_id = ANY ($1::uuid[])
ORDER BY order_id
FOR UPDATE
