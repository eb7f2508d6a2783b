-- One page of what a replay sends of an outbox table, in the order of time: rows that
-- snapshot $1 sees, between $2 and $3, with one of the ids $4, aggregate types $5,
-- aggregate ids $6, event types $7 (null takes all), after the place ($8, $9, $10); up
-- to $11.
-- The relay puts a table of one's own, its columns and their types in the places of
-- gapless.outbox and its.
-- Indexes: outbox_created_at_idx, outbox_aggregate_idx, outbox_pkey.
SELECT o.*, x.gapless_at::text AS replay_at, o.tableoid::text AS replay_table, o.ctid::text AS replay_row
FROM gapless.outbox AS o
CROSS JOIN LATERAL (SELECT o.created_at AS gapless_at) AS x
WHERE (o.xid < pg_snapshot_xmin($1::text::pg_snapshot) OR pg_visible_in_snapshot(o.xid, $1::text::pg_snapshot))
  AND ($2::timestamptz IS NULL OR o.created_at >= $2::timestamptz)
  AND ($3::timestamptz IS NULL OR o.created_at < $3::timestamptz)
  AND ($4::text[] IS NULL OR o.id = ANY ($4::text[]::uuid[]))
  AND ($5::text[] IS NULL OR o.aggregatetype = ANY ($5::text[]::text[]))
  AND ($6::text[] IS NULL OR o.aggregateid = ANY ($6::text[]::text[]))
  AND ($7::text[] IS NULL OR o.type = ANY ($7::text[]::text[]))
  AND ($8::text IS NULL OR (x.gapless_at, o.tableoid, o.ctid) > ($8::text::timestamptz, $9::text::oid, $10::text::tid))
ORDER BY x.gapless_at, o.tableoid, o.ctid
LIMIT $11
