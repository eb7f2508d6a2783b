-- Writes the points of a batch's confirmed orders. An order has its points
-- once, also when a rebuild reads it again.
-- Index: points_pkey. Locks: ROW EXCLUSIVE; a concurrent insert of the same
-- order is waited for.
INSERT INTO loyalty.points (order_id, customer_id, points, event_id)
SELECT *
FROM unnest($1::uuid[], $2::text[], $3::bigint[], $4::uuid[])
ON CONFLICT (order_id) DO NOTHING
