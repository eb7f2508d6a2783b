-- Of tables $2, and of those in schemas $3, by their oids, the ones that are there and
-- that publication $1 does not publish, neither by themselves nor as partitions of
-- another. Catalogs only.
SELECT format('%s.%s', n.nspname, c.relname) AS name
FROM pg_class AS c
JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE (c.oid = ANY ($2::oid[])
       OR c.relnamespace = ANY ($3::oid[]) AND c.relkind IN ('r', 'p') AND c.relpersistence = 'p' AND NOT c.relispartition)
  AND NOT EXISTS (
      SELECT FROM pg_publication AS p, pg_get_publication_tables(p.pubname::text) AS t
      WHERE p.pubname = $1 AND (t.relid = c.oid OR t.relid IN (SELECT a.relid FROM pg_partition_ancestors(c.oid) AS a)))
ORDER BY 1
