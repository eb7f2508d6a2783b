-- For a person, after relay_resend.sql: the record of slot gapless begins again
-- where the slot is now. No relay may be running. What was written meanwhile into
-- tables of one's own is not known to be relayed.
WITH forgotten AS (
    DELETE FROM gapless.relay_table WHERE slot = 'gapless'
)
UPDATE gapless.relay_progress AS p
SET resume_lsn = s.confirmed_flush_lsn, partial_commit_lsn = NULL, partial_index = 0, proofs = '[]',
    timeline = ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int
FROM pg_replication_slots AS s
WHERE s.slot_name = p.slot AND p.slot = 'gapless'
