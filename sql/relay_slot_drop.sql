-- Drops a slot that this relay has just made. $1 slot.
SELECT pg_drop_replication_slot($1)
