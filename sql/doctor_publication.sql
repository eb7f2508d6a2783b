-- The publication @publication: one row, also where there is none. Reads the
-- catalogue alone.
SELECT p.oid IS NOT NULL AS exists,
       coalesce(p.pubinsert, false) AS inserts,
       EXISTS (SELECT FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
               WHERE n.nspname = 'gapless' AND c.relname = 'dead_letter') AS has_dead_letters,
       coalesce((SELECT array_agg(format('%s.%s', t.schemaname, t.tablename) ORDER BY 1)
                 FROM pg_publication_tables AS t WHERE t.pubname = p.pubname), '{}')::text[] AS tables
FROM (SELECT @publication::name AS name) AS wanted
LEFT JOIN pg_publication AS p ON p.pubname = wanted.name
