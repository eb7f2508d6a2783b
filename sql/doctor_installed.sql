-- What of Gapless is in this database, by its tables, and whether this login may
-- read which migrations were applied. Asks the catalogue and not to_regclass, which
-- is an error for a login without USAGE of the schema.
SELECT coalesce(bool_or(n.nspname = 'gapless' AND c.relname = 'outbox'), false) AS outbox,
       coalesce(bool_or(n.nspname = 'gapless' AND c.relname = 'inbox'), false) AS inbox,
       coalesce(bool_or(n.nspname = 'checkout' AND c.relname = 'orders'), false) AS shop,
       coalesce(has_schema_privilege(n_gapless.oid, 'USAGE'), false)
           AND coalesce(bool_and(has_table_privilege(c.oid, 'SELECT')) FILTER (WHERE c.relname LIKE 'goose\_%'), false) AS versions_readable
FROM (SELECT (SELECT oid FROM pg_namespace WHERE nspname = 'gapless') AS oid) AS n_gapless
LEFT JOIN pg_namespace AS n ON n.nspname IN ('gapless', 'checkout')
LEFT JOIN pg_class AS c ON c.relnamespace = n.oid AND c.relkind IN ('r', 'p')
GROUP BY n_gapless.oid
