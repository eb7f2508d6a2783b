-- The aggregate of an event: outbox_pkey of each partition.
SELECT aggregateid
FROM gapless.outbox
WHERE id = @id
LIMIT 1
