-- Places of rows that slot $1 has parked on the server of its record, on timeline $2 or one
-- before it, at or after position $3. parked_position_key, relay_progress_pkey.
SELECT commit_lsn::text AS commit_lsn, commit_index
FROM gapless.parked
WHERE slot = $1 AND system_id = (SELECT system_id FROM gapless.relay_progress WHERE slot = $1) AND timeline <= $2 AND commit_lsn >= $3::text::pg_lsn
