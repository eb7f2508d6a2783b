-- How many rows of the outbox, 1000 at most, were written by transactions that
-- had ended when slot $1 was made: the slot will never send them. catalog_xmin of
-- a slot that was never confirmed is the oldest transaction of that moment; it
-- gets its epoch from the newest id. The relay puts the quoted name of the table
-- in the place of gapless.outbox.
-- Index: outbox_xid_idx.
SELECT count(*)
FROM (
    SELECT FROM gapless.outbox AS o
    WHERE o.xid < (
        SELECT (pg_snapshot_xmax(pg_current_snapshot())::text::bigint - age(s.catalog_xmin))::text::xid8
        FROM pg_replication_slots AS s
        WHERE s.slot_name = $1)
    LIMIT 1000
) AS r
