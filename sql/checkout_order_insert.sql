-- An order with its items, in one statement.
-- Locks: ROW EXCLUSIVE on both tables.
WITH placed AS (
    INSERT INTO checkout.orders (order_id, principal, customer_id, currency, total_minor, plan, payment_token,
                                 shipping_address, traceparent, created_at, updated_at)
    VALUES ($1::uuid, $2, $3, $4, $5, $6, $7, $8, $9, $10::timestamptz, $10::timestamptz)
)
INSERT INTO checkout.order_items (order_id, line, sku, quantity, unit_price_minor)
SELECT $1::uuid, i.line, i.sku, i.quantity, i.unit_price_minor
FROM unnest($11::text[], $12::int[], $13::bigint[]) WITH ORDINALITY AS i (sku, quantity, unit_price_minor, line)
