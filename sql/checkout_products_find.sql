-- Price and currency of some SKUs.
-- Index: products_pkey. Locks: ACCESS SHARE.
SELECT sku, name, price_minor, currency
FROM checkout.products
WHERE sku = ANY ($1::text[])
