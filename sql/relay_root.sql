-- The table of which $1, an oid, is a partition; no row where it is none, or is gone.
-- Catalogs only.
SELECT format('%s.%s', n.nspname, c.relname) AS name
FROM pg_class AS c
JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.oid = pg_partition_root($1::oid) AND c.oid <> $1::oid
