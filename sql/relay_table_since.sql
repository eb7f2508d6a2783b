-- Notes since when rows of table $3, quoted $4, are relayed by slot $1 for certain: its
-- publication $2 has it and publishes inserts, and a transaction that gets its id after
-- this statement's snapshot finds it so. A membership that is another one begins anew.
-- Run by the relay while it streams. relay_table_pkey.
INSERT INTO gapless.relay_table (slot, relation, membership, since)
SELECT $1, $3, format('p%s.%s,r%s.%s', p.oid, p.xmin, r.oid, r.xmin), pg_snapshot_xmax(pg_current_snapshot())
FROM pg_publication AS p
JOIN pg_publication_rel AS r ON r.prpubid = p.oid
WHERE p.pubname = $2 AND p.pubinsert AND r.prrelid = to_regclass($4)
ON CONFLICT ON CONSTRAINT relay_table_pkey DO UPDATE
SET membership = EXCLUDED.membership, since = EXCLUDED.since
WHERE relay_table.membership <> EXCLUDED.membership
