-- Rows of a foreign table that a proof's snapshot ($1) does not cover for
-- certain. All there is to go by is xmin, which may be a subtransaction: one
-- that began after the snapshot's oldest running transaction may belong to it,
-- so it counts as unproven. xmin is given its epoch from the newest id.
-- Sequential scan. The relay puts the table's quoted name in the place of
-- gapless.outbox, and what tells its rows apart in that of o.id::text.
SELECT ctid::text AS tid, o.id::text AS id
FROM gapless.outbox AS o,
     (SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint AS newest) AS n,
     LATERAL (SELECT (n.newest & ~4294967295) | o.xmin::text::bigint AS same_epoch) AS e,
     LATERAL (SELECT CASE WHEN e.same_epoch > n.newest THEN e.same_epoch - 4294967296 ELSE e.same_epoch END AS xid) AS x
WHERE x.xid >= pg_snapshot_xmin($1::text::pg_snapshot)::text::bigint
