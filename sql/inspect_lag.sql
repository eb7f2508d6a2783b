-- Each relay: slot, stored progress, and how far behind in bytes and seconds.
-- Index: outbox_pkey. Locks: ACCESS SHARE.
SELECT slot, active, active_pid, wal_status,
       pg_size_pretty(retained_bytes) AS retained,
       pg_size_pretty(unconfirmed_bytes) AS unconfirmed,
       pg_size_pretty(unrelayed_bytes) AS unrelayed,
       pg_size_pretty(safe_wal_size) AS safe_wal_size,
       round(lag_seconds::numeric, 3) AS lag_seconds,
       timeline, resume_lsn, confirmed_flush_lsn, restart_lsn, events, relay_id, last_commit_at, updated_at
FROM gapless.relay_lag
ORDER BY slot
