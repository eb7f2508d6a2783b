-- The catalogue by SKU, after $1.
-- Index: products_pkey. Locks: ACCESS SHARE.
SELECT sku, name, price_minor, currency
FROM checkout.products
WHERE sku > $1
ORDER BY sku
LIMIT $2
