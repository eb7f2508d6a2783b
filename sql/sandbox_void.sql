-- Voids what was authorised under the key $2, if anything was, after
-- sandbox_authorization_spend in the same transaction.
-- Index: requests_pkey, charges_pkey. Locks: the charge FOR UPDATE, then the
-- request's row.
WITH charge AS (
    SELECT c.charge_id, c.status
    FROM sandbox.requests AS a
    JOIN sandbox.charges AS c USING (charge_id)
    WHERE a.idempotency_key = $2
    FOR UPDATE OF c
), voided AS (
    UPDATE sandbox.charges AS c
    SET status = 'voided', updated_at = clock_timestamp()
    FROM charge
    WHERE c.charge_id = charge.charge_id AND charge.status = 'authorized'
)
INSERT INTO sandbox.requests AS r (idempotency_key, operation, charge_id, outcome)
SELECT $1, 'void', (SELECT charge_id FROM charge), CASE WHEN s.status = 'authorized' THEN 'voided' ELSE s.status END
FROM (SELECT coalesce((SELECT status FROM charge), 'voided') AS status) AS s
ON CONFLICT (idempotency_key) DO UPDATE
SET calls = r.calls + 1
RETURNING r.idempotency_key, r.calls, r.outcome
