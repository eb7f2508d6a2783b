-- The rights that a relay needs and the login @login does not have, as GRANT has
-- them. Reads the catalogue alone.
SELECT format('%s ON gapless.%s', w.privilege, w.name) AS missing
FROM (VALUES ('SELECT', 'relay_progress'), ('INSERT', 'relay_progress'), ('UPDATE', 'relay_progress'),
             ('SELECT', 'relay_control'), ('SELECT', 'relay_request'), ('UPDATE', 'relay_request'),
             ('SELECT', 'parked'), ('INSERT', 'parked'), ('UPDATE', 'parked'), ('SELECT', 'outbox')) AS w (privilege, name)
JOIN pg_namespace AS n ON n.nspname = 'gapless'
JOIN pg_class AS c ON c.relnamespace = n.oid AND c.relname = w.name
-- Some are of columns alone.
WHERE NOT has_any_column_privilege(@login::name, c.oid, w.privilege)
UNION ALL
SELECT 'USAGE ON SCHEMA gapless'
FROM pg_namespace AS n
WHERE n.nspname = 'gapless' AND NOT has_schema_privilege(@login::name, n.oid, 'USAGE')
UNION ALL
SELECT format('EXECUTE ON FUNCTION gapless.%s(%s)', p.proname, pg_get_function_identity_arguments(p.oid))
FROM pg_proc AS p
JOIN pg_namespace AS n ON n.oid = p.pronamespace
WHERE n.nspname = 'gapless' AND p.proname IN ('outbox_partitions_create', 'outbox_unproven', 'outbox_retire', 'outbox_drop_retired')
  AND NOT has_function_privilege(@login::name, p.oid, 'EXECUTE')
