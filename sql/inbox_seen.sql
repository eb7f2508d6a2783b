-- Which of these events a consumer has claimed: a hint before Prepare and
-- before single tries. The claim decides. $4 and $5 are the least and the
-- greatest of them: a list alone would look into every partition.
-- Index: inbox_pkey. Locks: none.
SELECT event_id
FROM gapless.inbox
WHERE consumer = $1 AND generation = $2 AND event_id = ANY ($3::uuid[])
  AND event_id BETWEEN $4 AND $5
