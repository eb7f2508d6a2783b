-- Rows committed since a proof's snapshot ($1). Run once, at a start that finds
-- the slot ahead of the stored position. The relay puts the quoted name of a
-- table of its publication in the place of gapless.outbox. Sequential scan: no
-- table but our own has an index on its transaction ids, and on ours xmin is
-- as good. xmin is given its epoch from the newest transaction id.
SELECT ctid::text AS tid, coalesce(to_jsonb(o) ->> 'id', to_jsonb(o) ->> 'dead_letter_id') AS id
FROM gapless.outbox AS o,
     (SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint AS newest) AS n,
     LATERAL (SELECT (n.newest & ~4294967295) | o.xmin::text::bigint AS same_epoch) AS e,
     LATERAL (SELECT CASE WHEN e.same_epoch > n.newest THEN e.same_epoch - 4294967296 ELSE e.same_epoch END AS xid) AS x
WHERE x.xid >= pg_snapshot_xmin($1::text::pg_snapshot)::text::bigint
  AND NOT pg_visible_in_snapshot(x.xid::text::xid8, $1::text::pg_snapshot)
