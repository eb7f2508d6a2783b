-- How many rows of the outbox, 1000 at most, were written by transactions older
-- than the one that put the table into publication $1. From Postgres 18 on a slot
-- passes over them without an error. A membership that is frozen is older than any
-- row that matters. The relay puts the quoted name of the table in the place of
-- gapless.outbox.
-- Index: outbox_xid_idx.
SELECT count(*)
FROM (
    SELECT FROM gapless.outbox AS o
    WHERE o.xid < (
        SELECT (pg_snapshot_xmax(pg_current_snapshot())::text::bigint - age(r.xmin))::text::xid8
        FROM pg_publication_rel AS r
        JOIN pg_publication AS p ON p.oid = r.prpubid
        WHERE p.pubname = $1 AND r.prrelid = 'gapless.outbox'::regclass AND age(r.xmin) < 2147483647)
    LIMIT 1000
) AS r
