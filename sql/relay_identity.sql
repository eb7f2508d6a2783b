-- Columns that tell a row of table $1 (an oid) from every other: the column named $2,
-- unless it may be null and there is a primary key, else that of the key. None
-- where the table has neither. Catalogs only.
SELECT coalesce(certain.columns, key.columns, possible.columns, '{}') AS columns
FROM (SELECT array_agg(a.attname::text) AS columns
      FROM pg_catalog.pg_attribute AS a
      WHERE a.attrelid = $1::oid AND a.attname = $2 AND a.attnum > 0 AND NOT a.attisdropped AND a.attnotnull) AS certain,
     (SELECT array_agg(a.attname::text ORDER BY k.n) AS columns
      FROM pg_catalog.pg_index AS i
      CROSS JOIN LATERAL unnest(i.indkey::int2[]) WITH ORDINALITY AS k (attnum, n)
      JOIN pg_catalog.pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
      WHERE i.indrelid = $1::oid AND i.indisprimary AND k.n <= i.indnkeyatts) AS key,
     (SELECT array_agg(a.attname::text) AS columns
      FROM pg_catalog.pg_attribute AS a
      WHERE a.attrelid = $1::oid AND a.attname = $2 AND a.attnum > 0 AND NOT a.attisdropped) AS possible
