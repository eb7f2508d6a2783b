-- Takes partitions off the outbox that are older than $1, when they are relayed.
-- Raises 55P03 when a long transaction is in the way, 55000 where nothing can be
-- proven. ACCESS EXCLUSIVE on the outbox, for a moment.
SELECT gapless.outbox_retire($1)
