-- The slots that relays of a publication use, but for one: by their records, and
-- those that have none and so may be anybody's. $1 slot, $2 publication. Catalogs
-- and relay_progress_pkey.
SELECT s.slot
FROM (SELECT slot, split_part(coalesce(publication_fingerprint, ''), '.', 1) AS publication FROM gapless.relay_progress
      UNION ALL
      SELECT slot_name::text, '' FROM pg_replication_slots
      WHERE database = current_database() AND plugin = 'pgoutput' AND NOT temporary
        AND slot_name NOT IN (SELECT slot::name FROM gapless.relay_progress)) AS s
WHERE s.slot <> $1::text
  AND s.publication IN ('', coalesce((SELECT 'p' || oid FROM pg_publication WHERE pubname = $2::name), ''))
ORDER BY s.slot
