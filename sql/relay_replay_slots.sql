-- The slots whose relays relay a table (oid $1): the publication of a relay's newest proof
-- has it, or its partitions in its place, and had it at that proof.
SELECT r.slot
FROM gapless.relay_progress AS r
CROSS JOIN LATERAL (SELECT string_to_array(r.publication_fingerprint, ',') AS parts) AS f
WHERE EXISTS (
    SELECT FROM pg_publication AS p
    JOIN pg_publication_tables AS t ON t.pubname = p.pubname
    JOIN pg_namespace AS n ON n.nspname = t.schemaname
    JOIN pg_class AS c ON c.relnamespace = n.oid AND c.relname = t.tablename AND coalesce(pg_partition_root(c.oid), c.oid) = $1::oid
    WHERE EXISTS (SELECT FROM unnest(f.parts) AS part WHERE split_part(part, '.', 1) = 'p' || p.oid)
      AND NOT EXISTS (
          SELECT FROM pg_publication_rel AS m
          WHERE m.prpubid = p.oid AND m.prrelid IN (c.oid, $1::oid) AND format('r%s.%s.%s', m.oid, m.xmin, m.prrelid) <> ALL (f.parts)
      )
)
ORDER BY r.slot
