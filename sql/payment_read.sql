-- Reads payments before the gateway is called, outside any transaction.
-- Index: payments_pkey. Locks: none.
SELECT order_id, status, currency, amount_minor, captured_minor, refunded_minor, coalesce(charge_id, '') AS charge_id,
       flagged, coalesce(reason, '') AS reason, version, step_ids
FROM payment.payments
WHERE order_id = ANY ($1::uuid[])
