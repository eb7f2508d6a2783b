-- Each table of the publication @publication and how it is published. What Postgres
-- 14 does not have yet (row filters, column lists) is read as JSON, so that there it
-- is absent. A schema or all tables being published has no row here.
SELECT format('%s.%s', n.nspname, c.relname) AS name,
       c.relkind = 'p' AS partitioned,
       to_jsonb(r) ->> 'prqual' IS NOT NULL AS filtered,
       to_jsonb(r) ->> 'prattrs' IS NOT NULL AS listed,
       p.pubviaroot AS via_root
FROM pg_publication AS p
JOIN pg_publication_rel AS r ON r.prpubid = p.oid
JOIN pg_class AS c ON c.oid = r.prrelid
JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE p.pubname = @publication
ORDER BY 1
