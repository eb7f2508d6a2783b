-- What the shared poller asks for all orders that somebody waits for.
-- Index: orders_pkey. Locks: ACCESS SHARE.
SELECT order_id, status, stock_status, version, updated_at
FROM checkout.orders
WHERE order_id = ANY ($1::uuid[])
