-- Writes products; what is the same already is not written again.
-- Index: products_pkey. Locks: the rows written, in order of sku.
INSERT INTO checkout.products AS p (sku, name, price_minor, currency)
SELECT *
FROM unnest($1::text[], $2::text[], $3::bigint[], $4::text[])
ON CONFLICT (sku) DO UPDATE
SET name = excluded.name, price_minor = excluded.price_minor, currency = excluded.currency, updated_at = clock_timestamp()
WHERE (p.name, p.price_minor, p.currency) IS DISTINCT FROM (excluded.name, excluded.price_minor, excluded.currency)
