-- Captures charges in full, each once; a repeat gives the same answer. No key
-- twice in one statement.
-- Index: charges_pkey, requests_pkey. Locks: the charges FOR UPDATE, sorted, then
-- the requests' rows in array order (sorted).
WITH given AS (
    SELECT key, charge_id FROM unnest($1::text[], $2::text[]) AS g (key, charge_id)
), charge AS (
    SELECT charge_id, status
    FROM sandbox.charges
    WHERE charge_id = ANY ($2::text[])
    ORDER BY charge_id
    FOR UPDATE
), captured AS (
    UPDATE sandbox.charges AS c
    SET status = 'captured', captured_minor = c.amount_minor, updated_at = clock_timestamp()
    FROM charge
    WHERE c.charge_id = charge.charge_id AND charge.status = 'authorized'
)
INSERT INTO sandbox.requests AS r (idempotency_key, operation, charge_id, outcome)
SELECT g.key, 'capture', g.charge_id, CASE WHEN c.status IN ('authorized', 'captured') THEN 'captured'
                                           ELSE coalesce(c.status, 'no_such_charge') END
FROM given AS g
LEFT JOIN charge AS c ON c.charge_id = g.charge_id
ON CONFLICT (idempotency_key) DO UPDATE
SET calls = r.calls + 1
RETURNING r.idempotency_key, r.calls, r.outcome
