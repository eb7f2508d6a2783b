-- Stores one registered version; a row that is there is brought up to date in
-- what may change. Index: schema_version_pkey. Locks: the row written.
INSERT INTO gapless.schema_version AS s
    (schema_id, subject, version, message_type, message_index, definition, types, registry_url)
VALUES ($1, $2, $3, $4, $5, $6, $7::jsonb, $8)
ON CONFLICT (subject, version) DO UPDATE
SET types = excluded.types, message_type = excluded.message_type, message_index = excluded.message_index,
    registry_url = excluded.registry_url
WHERE (s.types, s.message_type, s.message_index, s.registry_url)
    IS DISTINCT FROM (excluded.types, excluded.message_type, excluded.message_index, excluded.registry_url)
