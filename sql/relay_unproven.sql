-- Rows of our own tables committed since a proof's snapshot ($1). Run once, at a
-- start that finds the slot ahead of the stored position. The relay puts the
-- quoted name of the table in the place of gapless.outbox. The column xid is
-- the top-level transaction: a row written under a savepoint has a subtransaction
-- as xmin, which no snapshot can be asked about. An xid that no transaction has yet is of
-- the server that the row was restored from, and only there xmin counts.
-- Index: outbox_xid_idx.
SELECT ctid::text AS tid, coalesce(to_jsonb(o) ->> 'id', to_jsonb(o) ->> 'dead_letter_id') AS id
FROM gapless.outbox AS o
WHERE o.xid >= pg_snapshot_xmin($1::text::pg_snapshot)
  AND NOT pg_visible_in_snapshot(o.xid, $1::text::pg_snapshot)
  AND (o.xid < pg_snapshot_xmax(pg_current_snapshot()) OR gapless.xid_with_epoch(o.xmin) >= pg_snapshot_xmin($1::text::pg_snapshot))
