-- Rows of an outbox table by their event's id ($1). The relay puts the table's quoted
-- name in the place of gapless.outbox, and its own column in that of id.
SELECT o.*
FROM gapless.outbox AS o
WHERE o.id::text = $1
LIMIT 10
