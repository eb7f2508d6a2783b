-- How far the relay is, by its own record and by the slot: keepalives move the
-- slot alone. relay_progress_pkey.
SELECT greatest(p.resume_lsn, s.confirmed_flush_lsn)::text AS position,
       coalesce(greatest(p.resume_lsn, s.confirmed_flush_lsn) >= @lsn::text::pg_lsn, false) AS passed,
       coalesce(s.active, false) AS active
FROM (SELECT @slot::text AS slot) AS q
LEFT JOIN gapless.relay_progress AS p ON p.slot = q.slot
LEFT JOIN pg_replication_slots AS s ON s.slot_name = q.slot
