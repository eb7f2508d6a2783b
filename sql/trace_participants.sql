-- What the participants hold of an order: by their primary keys;
-- stock_movements_order_id_sku_kind_key, charges_order_id_idx,
-- messages_order_id_idx.
SELECT at, store, what, id, detail
FROM (
    SELECT r.updated_at AS at, 'inventory' AS store, 'reservation ' || r.status || coalesce(' (' || r.reason || ')', '') AS what, r.order_id::text AS id,
           jsonb_build_object('status', r.status, 'items', r.items, 'version', r.version) AS detail
    FROM inventory.reservations AS r
    WHERE r.order_id = @order
    UNION ALL
    SELECT m.created_at, 'inventory', format('%s: %s of %s', m.kind, m.delta, m.sku), m.movement_id::text,
           jsonb_build_object('sku', m.sku, 'delta', m.delta, 'kind', m.kind, 'event_id', m.event_id)
    FROM inventory.stock_movements AS m
    WHERE m.order_id = @order
    UNION ALL
    SELECT p.updated_at, 'payment', format('%s, %s %s (captured %s, refunded %s)', p.status, round(p.amount_minor / 100.0, 2), p.currency, round(p.captured_minor / 100.0, 2), round(p.refunded_minor / 100.0, 2)),
           coalesce(p.charge_id, p.order_id::text),
           jsonb_build_object('status', p.status, 'amount_minor', p.amount_minor, 'captured_minor', p.captured_minor, 'refunded_minor', p.refunded_minor,
                              'charge_id', p.charge_id, 'reason', p.reason)
    FROM payment.payments AS p
    WHERE p.order_id = @order
    UNION ALL
    SELECT c.updated_at, 'charge', format('%s, %s %s (captured %s, refunded %s)', c.status, round(c.amount_minor / 100.0, 2), c.currency, round(c.captured_minor / 100.0, 2), round(c.refunded_minor / 100.0, 2)),
           c.charge_id, jsonb_build_object('status', c.status, 'amount_minor', c.amount_minor, 'captured_minor', c.captured_minor, 'refunded_minor', c.refunded_minor)
    FROM sandbox.charges AS c
    WHERE c.order_id = @order
    UNION ALL
    SELECT f.updated_at, 'shipment', f.status || coalesce(' ' || f.tracking_number, '') || coalesce(' (' || f.reason || ')', ''), f.order_id::text,
           jsonb_build_object('status', f.status, 'tracking_number', f.tracking_number, 'reason', f.reason)
    FROM fulfillment.shipments AS f
    WHERE f.order_id = @order
    UNION ALL
    SELECT coalesce(n.sent_at, n.created_at), 'message', n.kind || ' ' || n.status, n.message_id,
           jsonb_build_object('kind', n.kind, 'status', n.status, 'attempts', n.attempts, 'event_id', n.event_id)
    FROM notification.messages AS n
    WHERE n.order_id = @order
    UNION ALL
    SELECT l.created_at, 'loyalty', format('%s points for %s', l.points, l.customer_id), l.event_id::text,
           jsonb_build_object('points', l.points, 'customer_id', l.customer_id)
    FROM loyalty.points AS l
    WHERE l.order_id = @order
) AS e
ORDER BY at
