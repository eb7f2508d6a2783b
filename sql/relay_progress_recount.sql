-- Stores whether logical messages are counted in the places of changes. A transaction
-- that is half sent begins again: its index was counted the other way. No row for one
-- that lost the slot. relay_progress_pkey; row lock.
UPDATE gapless.relay_progress
SET messages = $3, partial_commit_lsn = NULL, partial_index = 0, updated_at = clock_timestamp()
WHERE slot = $1 AND incarnation = $2
