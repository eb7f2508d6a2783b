-- How far a consumer's partitions are settled in this database, and the
-- database's timeline, which changes when a standby is promoted or a backup is
-- restored. A partition without a row has -1.
-- Index: inbox_offset_pkey. Locks: none.
SELECT t.topic, t.partition, coalesce(o.next_offset, -1) AS next_offset, ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int AS timeline
FROM unnest($3::text[], $4::int[]) AS t (topic, partition)
LEFT JOIN gapless.inbox_offset AS o ON o.consumer = $1 AND o.generation = $2 AND o.topic = t.topic AND o.partition = t.partition
