-- Stores how far partitions are settled, if the database is still the one that
-- it was settled in: on timeline $3, and with each partition's offset as it was
-- loaded or stored last ($6, -1 for none). What is not stored then is seen by
-- loading: the database has gone back, or another member has stored.
-- Index: inbox_offset_pkey. Locks: the rows.
WITH given AS (
    SELECT g.topic, g.partition, g.expected, g.next_offset
    FROM unnest($4::text[], $5::int[], $6::bigint[], $7::bigint[]) AS g (topic, partition, expected, next_offset)
    LEFT JOIN gapless.inbox_offset AS o ON o.consumer = $1 AND o.generation = $2 AND o.topic = g.topic AND o.partition = g.partition
    WHERE coalesce(o.next_offset, -1) = g.expected
      AND ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int = $3
    ORDER BY g.topic, g.partition
)
INSERT INTO gapless.inbox_offset AS o (consumer, generation, topic, partition, next_offset)
SELECT $1, $2, topic, partition, next_offset FROM given
ON CONFLICT (consumer, generation, topic, partition) DO UPDATE
SET next_offset = EXCLUDED.next_offset, updated_at = clock_timestamp()
-- Again, under the row's lock: two members may store at once.
WHERE o.next_offset = (SELECT g.expected FROM given AS g WHERE g.topic = o.topic AND g.partition = o.partition)
