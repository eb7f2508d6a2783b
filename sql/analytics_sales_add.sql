-- Adds a batch's confirmed orders to their hours, one row for each hour and
-- currency of the batch.
-- Index: sales_by_hour_pkey. Locks: the rows written, in array order (sorted).
INSERT INTO analytics.sales_by_hour AS s (hour, currency, orders, revenue_minor)
SELECT *
FROM unnest($1::timestamptz[], $2::text[], $3::bigint[], $4::bigint[])
ON CONFLICT (hour, currency) DO UPDATE
SET orders = s.orders + excluded.orders, revenue_minor = s.revenue_minor + excluded.revenue_minor
