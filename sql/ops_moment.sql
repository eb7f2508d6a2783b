-- Who asks, and where the log is, for what is noted in Kafka.
SELECT session_user::text AS actor,
       (CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END - '0/0')::bigint AS lsn,
       EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = @slot::text) AS has_slot
