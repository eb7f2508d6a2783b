-- What the catalog says of a table's columns and the log does not. $1 is the
-- table's oid; a table that is gone has none. Index pg_attribute_relid_attnum_index.
WITH RECURSIVE base AS (
    SELECT a.attnum, t.oid, t.typtype, t.typbasetype, t.typtypmod, false AS domain
    FROM pg_attribute AS a JOIN pg_type AS t ON t.oid = a.atttypid
    WHERE a.attrelid = $1::oid AND a.attnum > 0 AND NOT a.attisdropped
  UNION ALL
    SELECT b.attnum, t.oid, t.typtype, t.typbasetype,
           CASE WHEN t.typtype = 'd' THEN t.typtypmod ELSE b.typtypmod END, true
    FROM base AS b JOIN pg_type AS t ON t.oid = b.typbasetype
    WHERE b.typtype = 'd'
)
SELECT a.attname::text AS name,
       a.attnotnull AS not_null,
       coalesce(pg_get_expr(d.adbin, d.adrelid), '') AS default_expression,
       CASE WHEN b.domain THEN b.oid ELSE 0 END::oid AS base_oid,
       CASE WHEN b.domain THEN b.typtypmod ELSE -1 END::int AS base_modifier,
       (SELECT array_agg(e.enumlabel::text ORDER BY e.enumsortorder) FROM pg_enum AS e WHERE e.enumtypid = t.oid) AS labels,
       CASE WHEN t.typcategory = 'A' THEN t.typelem ELSE 0 END::oid AS element_oid,
       (SELECT array_agg(e.enumlabel::text ORDER BY e.enumsortorder) FROM pg_enum AS e WHERE e.enumtypid = t.typelem) AS element_labels,
       t.typname IN ('citext', 'isbn', 'ltxtquery') AS textual
FROM pg_attribute AS a
JOIN base AS b ON b.attnum = a.attnum AND b.typtype <> 'd'
JOIN pg_type AS t ON t.oid = b.oid
LEFT JOIN pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum AND a.attgenerated = ''
WHERE a.attrelid = $1::oid AND a.attnum > 0 AND NOT a.attisdropped
