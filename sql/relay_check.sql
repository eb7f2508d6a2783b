-- What the relay must know of the server, its slot and its publication before
-- it streams. $1 slot, $2 publication. Catalogs only; no lock that anyone feels. Not
-- to_regclass, which is an error for a login without USAGE of the schema.
SELECT current_setting('wal_level') AS wal_level,
       pg_is_in_recovery() AS in_recovery,
       current_database()::text AS database,
       (SELECT setting::bigint FROM pg_settings WHERE name = 'wal_sender_timeout') AS wal_sender_timeout_ms,
       s.slot_name IS NOT NULL AS slot_exists,
       coalesce(s.plugin::text, '') AS plugin,
       coalesce(s.database::text, '') AS slot_database,
       coalesce(s.active, false) AS active,
       coalesce(s.active_pid, 0) AS active_pid,
       coalesce(s.wal_status, '') AS wal_status,
       s.confirmed_flush_lsn::text AS confirmed_flush,
       EXISTS (SELECT FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE n.nspname = 'gapless' AND c.relname = 'relay_progress') AS migrated,
       p.oid IS NOT NULL AS publication_exists,
       coalesce(p.pubinsert, false) AS publishes_inserts,
       coalesce(p.puballtables, false) AS publishes_all,
       EXISTS (SELECT FROM pg_depend AS d JOIN pg_depend AS n ON n.classid = d.classid AND n.objid = d.objid
               WHERE d.refclassid = 'pg_publication'::regclass AND d.refobjid = p.oid
                 AND d.classid = to_regclass('pg_catalog.pg_publication_namespace') -- since Postgres 15
                 AND n.refclassid = 'pg_namespace'::regclass AND n.refobjid = to_regnamespace('gapless')) AS publishes_schema,
       EXISTS (SELECT FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE n.nspname = 'gapless' AND c.relname = 'dead_letter') AS has_dead_letters,
       coalesce((SELECT array_agg(format('%s.%s', t.schemaname, t.tablename) ORDER BY 1)
                 FROM pg_publication_tables AS t WHERE t.pubname = p.pubname), '{}')::text[] AS tables,
       NOT EXISTS (SELECT FROM pg_publication_tables AS t
                   JOIN pg_namespace AS n ON n.nspname = t.schemaname
                   JOIN pg_class AS c ON c.relnamespace = n.oid AND c.relname = t.tablename
                   WHERE t.pubname = p.pubname
                     AND NOT (has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT'))) AS readable
FROM (SELECT $1::name AS slot, $2::name AS publication) AS wanted
LEFT JOIN pg_replication_slots AS s ON s.slot_name = wanted.slot
LEFT JOIN pg_publication AS p ON p.pubname = wanted.publication
