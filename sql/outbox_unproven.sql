-- Rows that are older than $1 by whole days and that some relay of this database is not
-- proven to have relayed: they keep their partitions. Raises as outbox_retire.sql does.
-- Index: outbox_xid_idx.
SELECT gapless.outbox_unproven('gapless.outbox', date_trunc('day', clock_timestamp() - $1::interval, 'UTC'))
