-- Stores whether logical messages are counted in the places of changes. A transaction
-- that is half sent begins again: its index was counted the other way. The position goes
-- to $4 if it is before it. No row for one that lost the slot. relay_progress_pkey; row
-- lock.
UPDATE gapless.relay_progress
SET messages = $3, resume_lsn = greatest(resume_lsn, $4::text::pg_lsn), partial_commit_lsn = NULL, partial_index = 0, updated_at = clock_timestamp()
WHERE slot = $1 AND incarnation = $2
