-- As relay_replay_rows.sql, of a table of one's own. All there is to go by is xmin,
-- which may be a subtransaction's: below the oldest transaction that the snapshot saw
-- running, it is over. xmin is given its epoch from the newest id. The relay puts the id
-- since which rows are relayed for certain, where it knows one, in the lower bound's place.
-- Without an index on the order, each page is a sequential scan.
SELECT o.*, x.gapless_at::text AS replay_at, o.tableoid::text AS replay_table, o.ctid::text AS replay_row
FROM gapless.outbox AS o
CROSS JOIN LATERAL (SELECT o.created_at AS gapless_at) AS x
WHERE ($2::timestamptz IS NULL OR o.created_at >= $2::timestamptz)
  AND ($3::timestamptz IS NULL OR o.created_at < $3::timestamptz)
  AND ($4::text[] IS NULL OR o.id = ANY ($4::text[]::uuid[]))
  AND ($5::text[] IS NULL OR o.aggregatetype = ANY ($5::text[]::text[]))
  AND ($6::text[] IS NULL OR o.aggregateid = ANY ($6::text[]::text[]))
  AND ($7::text[] IS NULL OR o.type = ANY ($7::text[]::text[]))
  AND ($8::text IS NULL OR (x.gapless_at, o.tableoid, o.ctid) > ($8::text::timestamptz, $9::text::oid, $10::text::tid))
  AND (SELECT CASE WHEN e.same_epoch > n.newest THEN e.same_epoch - 4294967296 ELSE e.same_epoch END
       FROM (SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint AS newest) AS n,
            LATERAL (SELECT (n.newest & ~4294967295) | o.xmin::text::bigint AS same_epoch) AS e
      ) BETWEEN -4294967296 AND pg_snapshot_xmin($1::text::pg_snapshot)::text::bigint - 1
ORDER BY x.gapless_at, o.tableoid, o.ctid
LIMIT $11
