-- Every outbox row of the snapshot. Sequential scan, no lock but ACCESS SHARE.
SELECT id, aggregatetype, aggregateid, coalesce(aggregate_version, 0) AS version, type,
    -- An infinite one fits no time.Time and has no age: it never falls to retention.
    CASE WHEN isfinite(created_at) THEN created_at ELSE clock_timestamp() END AS created_at
FROM gapless.outbox
