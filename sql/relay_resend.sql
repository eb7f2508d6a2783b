-- For a person, after a slot was lost: writes the outbox rows again that the
-- relay of slot gapless may not have sent, so that the slot which is there now
-- sends them. Ids stay, so consumers drop what they have seen. An hour is for
-- transactions that were long open. Versions keep a key's order.
WITH again AS (
    DELETE FROM gapless.outbox
    WHERE created_at >= coalesce((SELECT last_commit_at - interval '1 hour' FROM gapless.relay_progress WHERE slot = 'gapless'), '-infinity')
    RETURNING id, aggregatetype, aggregateid, aggregate_version, type, payload, headers, created_at
)
INSERT INTO gapless.outbox (id, aggregatetype, aggregateid, aggregate_version, type, payload, headers, created_at)
SELECT id, aggregatetype, aggregateid, aggregate_version, type, payload, headers, created_at
FROM again
ORDER BY aggregatetype, aggregateid, aggregate_version, created_at, id
