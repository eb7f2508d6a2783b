-- The tries that are counted against messages, by their places in the arrays.
-- Index: inbox_attempt_pkey. Locks: none.
SELECT m.place, a.attempts
FROM unnest($3::text[], $4::int[], $5::bigint[]) WITH ORDINALITY AS m (topic, partition, "offset", place)
JOIN gapless.inbox_attempt AS a
  ON (a.consumer, a.generation, a.topic, a.partition, a."offset") = ($1, $2::int, m.topic, m.partition, m."offset")
