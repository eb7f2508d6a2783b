-- Every stored version in the order in which a registry gave the ids, to fill an
-- empty registry of this process with them. Locks: ACCESS SHARE.
SELECT schema_id, subject, version, definition
FROM gapless.schema_version
ORDER BY schema_id, registered_at, subject, version
