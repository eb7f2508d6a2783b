-- The row of an outbox table with the highest event id, which is the newest where ids are
-- in the order of time. The relay puts the table's quoted name in the place of
-- gapless.outbox, and its own column in that of id. outbox_pkey.
SELECT o.*
FROM gapless.outbox AS o
WHERE o.id IS NOT NULL
ORDER BY o.id DESC
LIMIT 1
