-- Columns of a table (oid $1), with their types as a cast names them: with -1 it is one of any length.
SELECT attname::text AS name, format_type(atttypid, -1) AS type
FROM pg_attribute
WHERE attrelid = $1::oid AND attnum > 0 AND NOT attisdropped
