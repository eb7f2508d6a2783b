-- Deletes up to $2 rows of a foreign outbox table (name $5, quoted $6) that slot $3
-- with publication $4 is known to relay since they were written (relay_table), that
-- every relay of this database is proven to have passed, and that are older than $1.
-- The relay puts the table's quoted name in the place of gapless.outbox, and its
-- column's in that of created_at. xmin may be a subtransaction's, whose id is above its
-- parent's: below the oldest transaction that a proof saw running, both are over. A row
-- filter may have kept rows from being relayed, and a row that was parked without its bytes
-- is nowhere else: then nothing is deleted. xmin
-- is given its epoch from the newest id. It runs with the login's own search_path, for
-- the table's triggers, so what does not take its arguments as they are says its schema.
-- Sequential scan up to the batch, where the oldest rows lie; row locks.
WITH relays AS (
    SELECT snapshot
    FROM gapless.relay_proven()
), member AS (
    SELECT t.since::text::bigint AS since
    FROM gapless.relay_table AS t
    JOIN pg_publication AS p ON p.pubname = $4 AND p.pubinsert
    JOIN pg_publication_rel AS r ON r.prpubid = p.oid AND r.prrelid = to_regclass($6)
    WHERE t.slot = $3 AND t.relation = $5 AND t.membership = pg_catalog.format('p%s.%s,r%s.%s', p.oid, p.xmin, r.oid, r.xmin)
      AND pg_catalog.to_jsonb(r) ->> 'prqual' IS NULL
      AND NOT EXISTS (
          SELECT FROM gapless.parked AS k
          WHERE k.slot = $3 AND k.relation = $5 AND k.status IN ('parked', 'waiting', 'redriving') AND k.source ->> 'too_large' = 'true'
      )
), proven AS (
    SELECT min(pg_snapshot_xmin(snapshot)::text::bigint) AS xmin, m.since,
           pg_snapshot_xmax(pg_current_snapshot())::text::bigint AS newest
    FROM relays, member AS m
    GROUP BY m.since
    HAVING bool_and(snapshot IS NOT NULL)
), old AS (
    SELECT o.tableoid AS part, o.ctid AS tid
    FROM proven AS n
    CROSS JOIN gapless.outbox AS o
    CROSS JOIN LATERAL (SELECT (n.newest & ~4294967295) | o.xmin::text::bigint AS same_epoch) AS e
    CROSS JOIN LATERAL (SELECT CASE WHEN e.same_epoch > n.newest THEN e.same_epoch - 4294967296 ELSE e.same_epoch END AS xid) AS x
    WHERE x.xid < n.xmin AND x.xid >= n.since
      AND ($1::interval = interval '0' OR o.created_at < clock_timestamp() - $1::interval)
    LIMIT $2
)
DELETE FROM gapless.outbox AS o
USING old
WHERE o.tableoid = old.part AND o.ctid = old.tid
