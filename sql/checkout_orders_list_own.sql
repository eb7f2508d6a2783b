-- A principal's orders of one customer, newest first, before order $3.
-- Indexes: orders_principal_customer_id_idx, order_items_pkey. Locks: ACCESS SHARE.
SELECT o.order_id, o.customer_id, o.currency, o.total_minor, o.plan, o.shipping_address, o.status, o.reason, o.stock_status,
       o.version, o.created_at, o.updated_at, o.confirmed_at,
       (SELECT jsonb_agg(jsonb_build_object('sku', i.sku, 'quantity', i.quantity, 'unit_price_minor', i.unit_price_minor)
                         ORDER BY i.line)
        FROM checkout.order_items AS i
        WHERE i.order_id = o.order_id) AS items
FROM checkout.orders AS o
WHERE o.principal = $1 AND o.customer_id = $2 AND o.order_id < $3
ORDER BY o.order_id DESC
LIMIT $4
