-- Each relay: slot, stored progress, lag, what it has put aside, and what it tells of
-- itself; and the server's WAL, for two looks to tell how fast it grows. A relay without
-- its slot is known by its connection. Events are rows of the outbox that are newer than
-- the newest relayed one, 100001 at most, of a relay that has that table. Index: outbox_pkey, parked_open_idx,
-- relay_control_pkey, relay_status_pkey. Locks: ACCESS SHARE.
SELECT l.slot, l.active, l.active_pid, l.wal_status, l.timeline, l.resume_lsn::text AS resume_lsn,
       l.confirmed_flush_lsn::text AS confirmed_flush_lsn, l.restart_lsn::text AS restart_lsn,
       l.retained_bytes, l.unconfirmed_bytes, l.unrelayed_bytes, l.safe_wal_size, l.lag_seconds,
       coalesce(l.events, 0) AS events, coalesce(l.relay_id, '') AS relay_id, l.last_commit_at, l.updated_at,
       (SELECT count(*) FROM gapless.parked AS p WHERE p.slot = l.slot AND p.status IN ('parked', 'redriving')) AS parked,
       (SELECT count(*) FROM gapless.parked AS p WHERE p.slot = l.slot AND p.status = 'waiting') AS waiting,
       coalesce(c.paused, false) AS paused, coalesce(c.actor || ': ' || c.reason, '') AS paused_by,
       l.active OR EXISTS (SELECT FROM pg_stat_activity WHERE application_name = left('gapless relay ' || l.slot, 63)) AS runs,
       coalesce(t.state, '') AS told_state, coalesce(t.reason, '') AS told_reason, t.told_at,
       coalesce(t.held, 0) AS held, coalesce(t.held_topics, '{}') AS held_topics,
       (SELECT count(*) FROM (
           SELECT FROM gapless.outbox AS o
           WHERE l.relays_outbox
             AND o.created_at > coalesce(l.last_commit_at, '-infinity')
             AND o.id >= coalesce(gapless.uuid7_floor(l.last_commit_at), '00000000-0000-0000-0000-000000000000')
           LIMIT 100001
       ) AS newer) AS unrelayed_events,
       l.relays_outbox,
       pg_wal_lsn_diff(CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END, '0/0')::bigint AS wal_bytes,
       extract(epoch FROM clock_timestamp())::float8 AS looked_at
FROM gapless.relay_lag AS l
LEFT JOIN gapless.relay_control AS c ON c.slot = l.slot AND c.paused
LEFT JOIN gapless.relay_status AS t ON t.slot = l.slot
WHERE @slot::text = '' OR l.slot = @slot
ORDER BY l.slot
