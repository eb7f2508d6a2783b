-- Who asks, and where the log of which server is, for what is noted in Kafka.
SELECT session_user::text AS actor,
       (CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END - '0/0')::bigint AS lsn,
       (SELECT mod(system_identifier + 18446744073709551616, 18446744073709551616)::text FROM pg_control_system()) AS system_id,
       EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = @slot::text) AS has_slot
