-- Whether the relay that holds slot $1 has passed LSN $2, whether one holds it, and whether
-- it has proven anything of its publication yet. The slot's own position counts, too: an
-- idle relay moves that alone.
SELECT s.active,
       coalesce(r.resume_lsn >= $2::text::pg_lsn OR s.active AND s.confirmed_flush_lsn >= $2::text::pg_lsn, false) AS passed,
       coalesce(r.publication_fingerprint, '') <> '' AS proven
FROM gapless.relay_progress AS r
JOIN pg_replication_slots AS s ON s.slot_name = r.slot
WHERE r.slot = $1
