-- Writes one movement for each SKU and direction of an order. A second one is
-- refused by stock_movements_order_id_sku_kind_key.
-- Locks: ROW EXCLUSIVE; the stock rows are locked already.
INSERT INTO inventory.stock_movements (order_id, sku, delta, kind, event_id)
SELECT *
FROM unnest($1::uuid[], $2::text[], $3::bigint[], $4::text[], $5::uuid[])
