-- Keeps $1 days of inbox partitions ready; returns how many were made.
-- Raises 55P03 when a long transaction is in the way: call again later.
SELECT gapless.inbox_partitions_create($1)
