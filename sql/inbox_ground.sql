-- On what a batch's transaction stands: the server's timeline, which is another
-- one after a standby was promoted or a backup restored; and that its COMMIT is
-- durable, since offsets are committed elsewhere on its word.
-- Locks: none.
SELECT ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int AS timeline,
       CASE WHEN current_setting('synchronous_commit') = 'off' THEN set_config('synchronous_commit', 'on', true) END
