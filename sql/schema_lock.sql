-- Lets one Register at a time compare and store. Readers go on.
-- Locks: SHARE ROW EXCLUSIVE.
LOCK TABLE gapless.schema_version IN SHARE ROW EXCLUSIVE MODE
