-- Places of rows that slot $1 has parked on timeline $2, at or after position $3.
-- parked_position_key.
SELECT commit_lsn::text AS commit_lsn, commit_index
FROM gapless.parked
WHERE slot = $1 AND timeline = $2 AND commit_lsn >= $3::text::pg_lsn
