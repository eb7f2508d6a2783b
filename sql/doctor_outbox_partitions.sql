-- How many partitions the outbox has, and how many days it is until rows fall into
-- the last one, which runs to MAXVALUE and can be split only while it is empty. Null
-- where there is no such one, 0 where it is the only one. Reads the catalogue alone.
SELECT count(*)::int AS partitions,
       CASE WHEN bool_or(b.bound = 'FOR VALUES FROM (MINVALUE) TO (MAXVALUE)') THEN 0
            ELSE extract(epoch FROM max(substring(b.bound FROM $q$FROM \('([^']+)'\) TO \(MAXVALUE\)$q$)::timestamptz) - clock_timestamp()) / 86400
       END::float8 AS days
FROM pg_inherits AS i
JOIN pg_class AS c ON c.oid = i.inhrelid
CROSS JOIN LATERAL (SELECT pg_get_expr(c.relpartbound, c.oid) AS bound) AS b
WHERE i.inhparent = to_regclass('gapless.outbox')
