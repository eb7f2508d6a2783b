-- What this database holds, and how far back: partitions below the floors were
-- dropped by retention. Where the relay's has dropped any, the first outbox partition
-- is outbox_past_DAY and stands for them; by hand they are dropped without that. Reads the catalogue alone.
SELECT to_regclass('gapless.outbox') IS NOT NULL AS outbox,
       to_regclass('gapless.inbox') IS NOT NULL AS inbox,
       to_regclass('gapless.saga') IS NOT NULL AND to_regclass('checkout.orders') IS NOT NULL AS orders,
       to_regclass('inventory.stock') IS NOT NULL AND to_regclass('sandbox.charges') IS NOT NULL AS participants,
       (SELECT CASE WHEN bool_or(b.bound LIKE '%FROM (MINVALUE)%' AND c.relname NOT LIKE 'outbox\_past%') THEN NULL
                    ELSE coalesce(min(substring(b.bound FROM $q$TO \('([^']+)'\)$q$)::timestamptz) FILTER (WHERE c.relname LIKE 'outbox\_past%'),
                                  min(substring(b.bound FROM $q$FROM \('([^']+)'\)$q$)::timestamptz)) END
        FROM pg_inherits AS i
        JOIN pg_class AS c ON c.oid = i.inhrelid
        CROSS JOIN LATERAL (SELECT pg_get_expr(c.relpartbound, c.oid) AS bound) AS b
        WHERE i.inhparent = to_regclass('gapless.outbox')) AS outbox_floor,
       (SELECT min(gapless.uuid7_time(substring(pg_get_expr(c.relpartbound, c.oid) FROM $q$FROM \('([^']+)'\)$q$)::uuid))
        FROM pg_inherits AS i
        JOIN pg_class AS c ON c.oid = i.inhrelid
        WHERE i.inhparent = to_regclass('gapless.inbox')) AS inbox_floor
