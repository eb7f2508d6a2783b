-- One order as its principal, or an operator, sees it.
-- Indexes: orders_pkey, order_items_pkey. Locks: ACCESS SHARE.
SELECT o.order_id, o.customer_id, o.currency, o.total_minor, o.plan, o.shipping_address, o.status, o.reason, o.stock_status,
       o.version, o.created_at, o.updated_at, o.confirmed_at,
       (SELECT jsonb_agg(jsonb_build_object('sku', i.sku, 'quantity', i.quantity, 'unit_price_minor', i.unit_price_minor)
                         ORDER BY i.line)
        FROM checkout.order_items AS i
        WHERE i.order_id = o.order_id) AS items
FROM checkout.orders AS o
WHERE o.order_id = $1 AND ($3 OR o.principal = $2)
