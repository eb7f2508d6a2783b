-- Finds a stored row that the registry's answer would contradict: the same
-- version with another id or text, or the same id with another text.
-- Index: schema_version_pkey, schema_version_schema_id_idx. Locks: ACCESS SHARE.
SELECT subject, version, schema_id, coalesce(registry_url, '') AS registry_url
FROM gapless.schema_version
WHERE (subject = $1 AND version = $2 AND (schema_id <> $3 OR definition <> $4))
   OR (schema_id = $3 AND definition <> $4)
LIMIT 1
