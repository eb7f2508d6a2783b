-- Forgets the tries at messages of a partition up to offset $5: all of them are
-- applied or parked.
-- Index: inbox_attempt_pkey. Locks: the rows.
DELETE FROM gapless.inbox_attempt
WHERE consumer = $1 AND generation = $2 AND topic = $3 AND partition = $4 AND "offset" <= $5
