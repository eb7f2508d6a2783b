-- Each relay: slot, stored progress, lag, and what it has put aside. Index:
-- outbox_pkey, parked_open_idx, relay_control_pkey. Locks: ACCESS SHARE.
SELECT l.slot, l.active, l.active_pid, l.wal_status, l.timeline, l.resume_lsn::text AS resume_lsn,
       l.confirmed_flush_lsn::text AS confirmed_flush_lsn, l.restart_lsn::text AS restart_lsn,
       l.retained_bytes, l.unconfirmed_bytes, l.unrelayed_bytes, l.safe_wal_size, l.lag_seconds,
       coalesce(l.events, 0) AS events, coalesce(l.relay_id, '') AS relay_id, l.last_commit_at, l.updated_at,
       (SELECT count(*) FROM gapless.parked AS p WHERE p.slot = l.slot AND p.status IN ('parked', 'redriving')) AS parked,
       (SELECT count(*) FROM gapless.parked AS p WHERE p.slot = l.slot AND p.status = 'waiting') AS waiting,
       coalesce(c.paused, false) AS paused, coalesce(format('%s: %s', c.actor, c.reason), '') AS paused_by
FROM gapless.relay_lag AS l
LEFT JOIN gapless.relay_control AS c ON c.slot = l.slot AND c.paused
WHERE @slot::text = '' OR l.slot = @slot
ORDER BY l.slot
