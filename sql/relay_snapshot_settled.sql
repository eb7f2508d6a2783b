-- A snapshot, the LSN that the relay has to pass for it, and whether it sees all that was
-- under way when snapshot $1 was taken. The snapshot is the statement's, taken before the
-- LSN is read.
SELECT pg_current_snapshot()::text AS snapshot, pg_current_wal_insert_lsn()::text AS lsn,
       pg_snapshot_xmin(pg_current_snapshot()) >= pg_snapshot_xmax($1::text::pg_snapshot) AS settled
