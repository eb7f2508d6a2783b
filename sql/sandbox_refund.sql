-- Refunds a captured charge in full, once; a repeat gives the same answer.
-- Index: charges_pkey, requests_pkey. Locks: the charge FOR UPDATE, then the
-- request's row.
WITH charge AS (
    SELECT charge_id, status
    FROM sandbox.charges
    WHERE charge_id = $2
    FOR UPDATE
), refunded AS (
    UPDATE sandbox.charges AS c
    SET status = 'refunded', refunded_minor = c.captured_minor, updated_at = clock_timestamp()
    FROM charge
    WHERE c.charge_id = charge.charge_id AND charge.status = 'captured'
)
INSERT INTO sandbox.requests AS r (idempotency_key, operation, charge_id, outcome)
VALUES ($1, 'refund', $2, CASE WHEN (SELECT status FROM charge) IN ('captured', 'refunded') THEN 'refunded'
                               ELSE coalesce((SELECT status FROM charge), 'no_such_charge') END)
ON CONFLICT (idempotency_key) DO UPDATE
SET calls = r.calls + 1
RETURNING r.idempotency_key, r.calls, r.outcome
