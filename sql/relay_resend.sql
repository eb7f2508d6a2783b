-- For a person, after a slot was lost: writes the outbox rows again that the
-- relay of slot gapless is not proven to have sent, so that the slot which is there
-- now sends them: those that the newest proof's snapshot does not see, all of them
-- where there is no proof. A time would not do: a row is committed when its
-- transaction ends, however long that was open, and one that waits for its topic is
-- passed by younger ones. Ids stay, so consumers drop what they have seen. Versions
-- keep a key's order. Index outbox_xid_idx.
WITH proven AS (
    SELECT coalesce((SELECT p.snapshot FROM gapless.relay_proven() AS p WHERE p.slot = 'gapless'), '1:1:') AS snapshot
), again AS (
    DELETE FROM gapless.outbox
    WHERE xid >= (SELECT pg_snapshot_xmin(snapshot) FROM proven)
      AND NOT pg_visible_in_snapshot(xid, (SELECT snapshot FROM proven))
    RETURNING id, aggregatetype, aggregateid, aggregate_version, type, payload, headers, created_at
)
INSERT INTO gapless.outbox (id, aggregatetype, aggregateid, aggregate_version, type, payload, headers, created_at)
SELECT id, aggregatetype, aggregateid, aggregate_version, type, payload, headers, created_at
FROM again
ORDER BY aggregatetype, aggregateid, aggregate_version, created_at, id
