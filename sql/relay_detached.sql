-- Partitioned tables of publication $2 whose partitions are published under their own
-- names, if the table with the oid $1 is not published: its rows in the log may be of one
-- of them, taken off since. Catalogs only.
SELECT format('%s.%s', n.nspname, c.relname) AS name
FROM pg_catalog.pg_publication AS p
JOIN pg_catalog.pg_publication_rel AS r ON r.prpubid = p.oid
JOIN pg_catalog.pg_class AS c ON c.oid = r.prrelid AND c.relkind = 'p'
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace AND n.nspname <> 'gapless'
WHERE p.pubname = $2
  AND NOT p.pubviaroot
  AND NOT EXISTS (SELECT
                  FROM pg_catalog.pg_publication_tables AS t
                  JOIN pg_catalog.pg_namespace AS tn ON tn.nspname = t.schemaname
                  JOIN pg_catalog.pg_class AS tc ON tc.relnamespace = tn.oid AND tc.relname = t.tablename
                  WHERE t.pubname = $2 AND tc.oid = $1::oid)
ORDER BY name
