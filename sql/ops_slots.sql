-- The slots of this database that relays may use, as ops_relays.sql has them, where the
-- relays' state is in Kafka; and the server's WAL. Catalogs only.
SELECT s.slot_name::text AS slot, s.active, s.active_pid, coalesce(s.wal_status, '') AS wal_status,
       s.confirmed_flush_lsn::text AS confirmed_flush_lsn, s.restart_lsn::text AS restart_lsn,
       (w.lsn - s.restart_lsn)::bigint AS retained_bytes, (w.lsn - s.confirmed_flush_lsn)::bigint AS unconfirmed_bytes, s.safe_wal_size,
       s.active OR EXISTS (SELECT FROM pg_stat_activity WHERE application_name = left('gapless relay ' || s.slot_name, 63)) AS runs,
       (w.lsn - '0/0')::bigint AS wal_bytes, extract(epoch FROM clock_timestamp())::float8 AS looked_at
FROM pg_replication_slots AS s
CROSS JOIN (SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END AS lsn) AS w
WHERE s.database = current_database() AND s.plugin = 'pgoutput' AND NOT s.temporary AND (@slot::text = '' OR s.slot_name = @slot::text)
ORDER BY s.slot_name
