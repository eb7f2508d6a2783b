-- How far the relay is, by its own record and by the slot: keepalives move the
-- slot alone. A slot of another database has the name alone in common.
-- relay_progress_pkey.
SELECT greatest(p.resume_lsn, s.confirmed_flush_lsn)::text AS position,
       coalesce(greatest(p.resume_lsn, s.confirmed_flush_lsn) >= @lsn::text::pg_lsn, false) AS passed,
       coalesce(s.active, false) AS active,
       coalesce(a.database, '')::text AS slot_database,
       current_database()::text AS database,
       ARRAY(SELECT slot_name::text FROM pg_replication_slots
             WHERE database = current_database() AND plugin = 'pgoutput' AND slot_name <> q.slot
             UNION SELECT slot FROM gapless.relay_progress WHERE slot <> q.slot
             ORDER BY 1) AS others
FROM (SELECT @slot::text AS slot) AS q
LEFT JOIN gapless.relay_progress AS p ON p.slot = q.slot
LEFT JOIN pg_replication_slots AS a ON a.slot_name = q.slot
LEFT JOIN pg_replication_slots AS s ON s.slot_name = q.slot AND s.database = current_database()
