-- Keys of slot $1 whose first open row waits for one that is not there any more (it was
-- deleted, or an answer was lost) get a request of the relay's own. Run by the relay
-- that has the slot, before it reads which keys are blocked. parked_open_idx.
WITH heads AS (
    SELECT DISTINCT ON (relation, row_key) id, status
    FROM gapless.parked
    WHERE slot = $1 AND blocks AND row_key IS NOT NULL AND status IN ('parked', 'waiting', 'redriving')
    ORDER BY relation, row_key, commit_lsn, commit_index, timeline
), asked AS (
    INSERT INTO gapless.relay_request (slot, action, filter, reason)
    SELECT $1, 'redrive', '{}', 'rows that wait for none'
    WHERE EXISTS (SELECT FROM heads WHERE status = 'waiting')
    RETURNING id
)
UPDATE gapless.parked AS p
SET request = asked.id
FROM heads, asked
WHERE p.id = heads.id AND heads.status = 'waiting'
