-- The record of the slot @slot against the server: one row, with nulls where there
-- is no record. relay_progress_pkey; no lock. pg_control_system shows a signed number
-- of what the relay is told unsigned.
SELECT p.slot IS NOT NULL AS recorded,
       coalesce(p.system_id, '') AS system_id,
       coalesce(p.timeline, 0) AS timeline,
       coalesce(p.resume_lsn::text, '') AS resume,
       (SELECT mod(system_identifier + 18446744073709551616, 18446744073709551616)::text FROM pg_control_system()) AS server_system_id,
       CASE WHEN pg_is_in_recovery() THEN (SELECT timeline_id FROM pg_control_checkpoint())
            ELSE ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int END AS server_timeline,
       here.lsn::text AS server_lsn,
       coalesce(p.resume_lsn > here.lsn, false) AS ahead
FROM (SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_flush_lsn() END AS lsn) AS here
LEFT JOIN gapless.relay_progress AS p ON p.slot = @slot
