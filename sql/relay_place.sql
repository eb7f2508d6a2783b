-- Where the state of relays may be in this database: whether it is there, may be read,
-- and whether this login could make it. Catalogs only.
SELECT to_regclass('gapless.relay_progress') IS NOT NULL AS made,
       coalesce(has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(to_regclass('gapless.relay_progress'), 'SELECT'), false) AS readable,
       current_setting('transaction_read_only') = 'off' AND
       CASE WHEN n.oid IS NULL THEN has_database_privilege(current_database(), 'CREATE')
            ELSE has_schema_privilege(n.oid, 'CREATE') END AS makeable
FROM (SELECT to_regnamespace('gapless')::oid AS oid) AS n
