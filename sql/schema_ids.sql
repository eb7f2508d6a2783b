-- Newest registered id of every subject. A handful of rows, read once at start.
-- Locks: ACCESS SHARE.
SELECT DISTINCT ON (subject) subject, schema_id, message_index
FROM gapless.schema_version
ORDER BY subject, version DESC
