-- Locks the orders whose state a batch changes: their next versions are given
-- out under this lock.
-- Index: orders_pkey. Locks: the rows FOR NO KEY UPDATE, in order of order_id.
SELECT order_id, version, clock_timestamp() AS now
FROM checkout.orders
WHERE order_id = ANY ($1::uuid[])
ORDER BY order_id
FOR NO KEY UPDATE
