-- Where each relay is: stored position, slot, and the WAL between them.
SELECT p.slot, p.relay_id, p.incarnation, s.active, s.active_pid, p.resume_lsn, s.confirmed_flush_lsn, s.restart_lsn,
       pg_size_pretty(pg_wal_lsn_diff(pg_current_wal_lsn(), p.resume_lsn)) AS unpublished,
       pg_size_pretty(pg_wal_lsn_diff(pg_current_wal_lsn(), s.restart_lsn)) AS retained,
       s.wal_status, p.events, p.last_commit_at, p.updated_at
FROM gapless.relay_progress AS p
LEFT JOIN pg_replication_slots AS s ON s.slot_name = p.slot
ORDER BY p.slot;
