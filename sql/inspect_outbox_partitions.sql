-- Partitions of the outbox with their bounds and sizes, newest first. The last
-- one runs to MAXVALUE and should stay empty. Locks: none on the tables.
SELECT c.relname AS partition,
       pg_get_expr(c.relpartbound, c.oid) AS bounds,
       pg_size_pretty(pg_total_relation_size(c.oid)) AS size,
       greatest(c.reltuples, 0)::bigint AS rows_estimated
FROM pg_inherits AS i
JOIN pg_class AS c ON c.oid = i.inhrelid
WHERE i.inhparent = 'gapless.outbox'::regclass
ORDER BY c.relname DESC
