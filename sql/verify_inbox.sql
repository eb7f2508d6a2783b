-- Claims of one consumer: inbox_pkey of each partition.
SELECT event_id, outcome
FROM gapless.inbox
WHERE consumer = @consumer AND generation = @generation
