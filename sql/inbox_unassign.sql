-- Lets go of a partition in good order, unless another member has taken it.
-- Index: inbox_assignment_pkey. Locks: the row.
DELETE FROM gapless.inbox_assignment
WHERE consumer = $1 AND generation = $2 AND topic = $3 AND partition = $4 AND member = $5
