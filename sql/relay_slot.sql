-- The slot's own figures. $1 slot.
SELECT s.active,
       coalesce(s.wal_status, '') AS wal_status,
       coalesce(pg_wal_lsn_diff(pg_current_wal_lsn(), s.restart_lsn), 0)::bigint AS retained_bytes,
       coalesce(s.safe_wal_size, -1)::bigint AS safe_bytes,
       coalesce(pg_wal_lsn_diff(pg_current_wal_lsn(), s.confirmed_flush_lsn), 0)::bigint AS unconfirmed_bytes
FROM pg_replication_slots AS s
WHERE s.slot_name = $1
