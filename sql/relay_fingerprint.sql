-- Identity of the publication: it changes with every ALTER, DROP and CREATE of it or of
-- its membership, by table (the last number is the table's) or by schema, and says when it
-- publishes no inserts, or partitions in the place of their table. $1 publication. Before
-- Postgres 15 there are no schemas in one and no pg_publication_namespace: the members'
-- dependencies are in each version. pg_depend_reference_index.
SELECT coalesce(string_agg(f.part, ',' ORDER BY f.part), '') AS fingerprint
FROM (
    SELECT format('p%s.%s', p.oid, p.xmin) AS part FROM pg_publication AS p WHERE p.pubname = $1
    UNION ALL
    SELECT format('r%s.%s.%s', r.oid, r.xmin, r.prrelid)
    FROM pg_publication_rel AS r JOIN pg_publication AS p ON p.oid = r.prpubid WHERE p.pubname = $1
    UNION ALL
    SELECT format('s%s.%s.%s', d.objid, d.xmin, n.refobjid)
    FROM pg_publication AS p
    JOIN pg_depend AS d ON d.refclassid = 'pg_publication'::regclass AND d.refobjid = p.oid
                       AND d.classid = to_regclass('pg_catalog.pg_publication_namespace')
    JOIN pg_depend AS n ON n.classid = d.classid AND n.objid = d.objid AND n.refclassid = 'pg_namespace'::regclass
    WHERE p.pubname = $1
    UNION ALL
    SELECT 'no_inserts' FROM pg_publication AS p WHERE p.pubname = $1 AND NOT p.pubinsert
    UNION ALL
    SELECT 'by_partition'
    FROM pg_publication AS p
    WHERE p.pubname = $1 AND NOT p.pubviaroot
      AND EXISTS (SELECT FROM pg_get_publication_tables(p.pubname::text) AS t JOIN pg_class AS c ON c.oid = t.relid WHERE c.relispartition)
) AS f
