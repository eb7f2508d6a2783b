-- One call of the sandbox gateway: the request is remembered by its key, and a
-- charge is made once for a key. Two transient failures turn into success at
-- the third call. One statement, so one transaction.
-- Index: requests_pkey, charges_pkey. Locks: the request's row; a second call
-- of the same key waits for the first.
WITH request AS (
    INSERT INTO sandbox.requests AS r (idempotency_key, operation, charge_id, outcome)
    VALUES ($1, 'authorize', $2, $3)
    ON CONFLICT (idempotency_key) DO UPDATE
    SET calls = r.calls + 1,
        outcome = CASE WHEN r.outcome = 'transient' AND r.calls >= 2 THEN 'authorized' ELSE r.outcome END
    RETURNING r.calls, r.outcome
), charge AS (
    INSERT INTO sandbox.charges (charge_id, order_id, token, status, currency, amount_minor)
    SELECT $2, $4::uuid, $5, 'authorized', $6, $7::bigint
    FROM request
    WHERE outcome = 'authorized'
    ON CONFLICT (charge_id) DO NOTHING
)
SELECT calls, outcome
FROM request
