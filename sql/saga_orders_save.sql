-- Writes the state of a batch's orders. An empty status or stock_status leaves
-- it as it is.
-- Index: orders_pkey. Locks: rows that saga_orders_lock holds already.
UPDATE checkout.orders AS o
SET status = coalesce(nullif(t.status, ''), o.status),
    reason = CASE WHEN t.status = '' THEN o.reason ELSE nullif(t.reason, '') END,
    stock_status = coalesce(nullif(t.stock_status, ''), o.stock_status),
    version = t.version, confirmed_at = coalesce(t.confirmed_at, o.confirmed_at), updated_at = clock_timestamp()
FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::timestamptz[])
    AS t (order_id, status, reason, stock_status, version, confirmed_at)
WHERE o.order_id = t.order_id
