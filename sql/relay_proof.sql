-- Once the relay has passed lsn, every row visible in snapshot was relayed. The
-- snapshot is the statement's, taken before the LSN is read.
SELECT pg_current_snapshot()::text AS snapshot, pg_current_wal_insert_lsn()::text AS lsn
