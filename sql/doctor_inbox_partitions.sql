-- How many partitions the inbox has beside the one for all else, and for how many
-- days they are enough. Reads the catalogue alone.
SELECT count(*) FILTER (WHERE b.bound <> 'DEFAULT')::int AS partitions,
       (extract(epoch FROM max(gapless.uuid7_time(substring(b.bound FROM $q$TO \('([^']+)'\)$q$)::uuid)) - clock_timestamp()) / 86400)::float8 AS days
FROM pg_inherits AS i
JOIN pg_class AS c ON c.oid = i.inhrelid
CROSS JOIN LATERAL (SELECT pg_get_expr(c.relpartbound, c.oid) AS bound) AS b
WHERE i.inhparent = to_regclass('gapless.inbox')
