-- Identity of the publication: it changes with every ALTER, DROP and CREATE of
-- it or of its membership, and says when it publishes no inserts. $1 publication.
SELECT coalesce(string_agg(f.part, ',' ORDER BY f.part), '') AS fingerprint
FROM (
    SELECT format('p%s.%s', p.oid, p.xmin) AS part FROM pg_publication AS p WHERE p.pubname = $1
    UNION ALL
    SELECT format('r%s.%s', r.oid, r.xmin)
    FROM pg_publication_rel AS r JOIN pg_publication AS p ON p.oid = r.prpubid WHERE p.pubname = $1
    UNION ALL
    SELECT 'no_inserts' FROM pg_publication AS p WHERE p.pubname = $1 AND NOT p.pubinsert
) AS f
