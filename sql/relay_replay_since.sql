-- Since when rows of table $2 (oid $3) are relayed by slot $1 for certain; null where
-- nobody has noted it of the table's place in the publication as it is now, and where a row
-- filter may have kept some from being relayed.
-- relay_table_pkey.
SELECT (
    SELECT t.since
    FROM gapless.relay_table AS t
    JOIN pg_publication_rel AS r ON r.prrelid = $3::oid
    JOIN pg_publication AS p ON p.oid = r.prpubid
    WHERE t.slot = $1 AND t.relation = $2 AND t.membership = format('p%s.%s,r%s.%s', p.oid, p.xmin, r.oid, r.xmin)
      AND to_jsonb(r) ->> 'prqual' IS NULL
)::text AS since
