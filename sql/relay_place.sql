-- Where the state of relays may be in this database: whether it is there, may be read,
-- and whether this login could make it. Catalogs only, and not to_regclass, which is an
-- error for a login without USAGE of the schema.
SELECT c.oid IS NOT NULL AS made,
       coalesce(has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT'), false) AS readable,
       current_setting('transaction_read_only') = 'off'
           AND CASE WHEN n.oid IS NULL THEN has_database_privilege(current_database(), 'CREATE') ELSE has_schema_privilege(n.oid, 'CREATE') END AS makeable
FROM (SELECT 'gapless' AS name) AS wanted
LEFT JOIN pg_namespace AS n ON n.nspname = wanted.name
LEFT JOIN pg_class AS c ON c.relnamespace = n.oid AND c.relname = 'relay_progress'
