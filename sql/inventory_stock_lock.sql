-- Reads the stock of every SKU of a batch, in one statement: two batches that
-- share SKUs wait for each other and never deadlock.
-- Index: stock_pkey. Locks: the rows FOR UPDATE, in order of sku.
SELECT sku, available
FROM inventory.stock
WHERE sku = ANY ($1::text[])
ORDER BY sku
FOR UPDATE
