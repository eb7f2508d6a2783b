-- Every replication slot of the server and the WAL that it keeps. What only newer
-- servers have is read as JSON. Locks: none.
SELECT s.slot_name::text AS name, coalesce(s.plugin::text, '') AS plugin, coalesce(s.database::text, '') AS database, s.temporary, s.active,
       coalesce(s.wal_status, '') AS wal_status,
       coalesce(pg_wal_lsn_diff(here.lsn, s.restart_lsn), 0)::bigint AS retained_bytes,
       coalesce(to_jsonb(s) ->> 'invalidation_reason', '') AS invalidation
FROM pg_replication_slots AS s,
     (SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END AS lsn) AS here
ORDER BY retained_bytes DESC, s.slot_name
