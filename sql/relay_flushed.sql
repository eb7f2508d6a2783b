-- The end of the log that a walsender may have sent.
SELECT pg_current_wal_flush_lsn()::text AS lsn
