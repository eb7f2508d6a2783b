-- Reads the reservations of a batch's orders, before any stock is locked.
-- Index: reservations_pkey. Locks: the rows FOR UPDATE, in order of order_id.
SELECT order_id, status, items, version, coalesce(reason, '') AS reason
FROM inventory.reservations
WHERE order_id = ANY ($1::uuid[])
ORDER BY order_id
FOR UPDATE
