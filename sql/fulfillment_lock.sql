-- Reads the shipments of a batch's orders.
-- Index: shipments_pkey. Locks: the rows FOR UPDATE, in order of order_id.
SELECT order_id, status, address, coalesce(tracking_number, '') AS tracking_number, coalesce(reason, '') AS reason, version, step_ids
FROM fulfillment.shipments
WHERE order_id = ANY ($1::uuid[])
ORDER BY order_id
FOR UPDATE
