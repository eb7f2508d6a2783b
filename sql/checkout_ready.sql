-- Whether the checkout's tables are there: NULL where the migrations have not
-- run.
SELECT to_regclass('checkout.orders') IS NOT NULL AND to_regclass('gapless.outbox') IS NOT NULL AS migrated
