-- Every replication slot of the server and the WAL that it keeps, whoever made
-- it: one that nobody reads fills the disk. Locks: none.
SELECT slot_name, database, plugin, slot_type, temporary, active, active_pid, wal_status,
       pg_size_pretty(pg_wal_lsn_diff(lsn, restart_lsn)) AS retained,
       pg_size_pretty(pg_wal_lsn_diff(lsn, confirmed_flush_lsn)) AS unconfirmed,
       pg_size_pretty(safe_wal_size) AS safe_wal_size,
       restart_lsn, confirmed_flush_lsn
FROM pg_replication_slots,
     (SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END AS lsn) AS here
ORDER BY pg_wal_lsn_diff(lsn, restart_lsn) DESC NULLS FIRST
