-- Whether the database is still on the history that replay $1 was planned on: by its
-- relay's record, and by the server, which may have been promoted before the relay came.
-- pg_control_system shows a signed number of what the relay is told unsigned.
-- relay_replay_pkey, relay_progress_pkey.
SELECT r.system_id = p.system_id AND r.timeline = p.timeline
       AND p.system_id = (SELECT mod(system_identifier + 18446744073709551616, 18446744073709551616)::text FROM pg_control_system())
       AND p.timeline = ('x' || left(pg_walfile_name(pg_current_wal_insert_lsn()), 8))::bit(32)::int AS same_history
FROM gapless.relay_replay AS p
JOIN gapless.relay_progress AS r ON r.slot = p.slot
WHERE p.id = $1
