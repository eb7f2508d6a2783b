-- The cut of the loss check: the first statement of a REPEATABLE READ
-- transaction, so that its snapshot is taken before the LSN is read. Every row
-- visible in the snapshot was committed by a record that ends at or before lsn.
-- On a page boundary the insert position stands behind the page's header, where
-- no record can end and no relay will ever be: step back to the page.
SELECT (p.lsn - CASE WHEN p.in_page <= 40 THEN p.in_page ELSE 0 END)::text AS lsn, clock_timestamp() AS at
FROM (SELECT l.lsn, mod(l.lsn - '0/0'::pg_lsn, current_setting('wal_block_size')::numeric) AS in_page
      FROM (SELECT pg_current_wal_insert_lsn() AS lsn) AS l) AS p
