-- The order that an id means: its own, or its saga's. orders_pkey, saga_pkey.
SELECT kind, order_id
FROM (SELECT 1 AS rank, 'order' AS kind, order_id FROM checkout.orders WHERE order_id = @id
      UNION ALL
      SELECT 2, 'saga', order_id FROM gapless.saga WHERE saga_id = @id) AS f
ORDER BY rank
LIMIT 1
