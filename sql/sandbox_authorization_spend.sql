-- Spends the key of an authorisation that is to be voided: one that arrives
-- later finds its request voided. It waits for one that is running, so that
-- the next statement, with a snapshot of its own, sees the charge it made.
-- Index: requests_pkey. Locks: the request's row.
INSERT INTO sandbox.requests AS r (idempotency_key, operation, charge_id, outcome)
VALUES ($1, 'authorize', NULL, 'voided')
ON CONFLICT (idempotency_key) DO UPDATE
SET outcome = CASE WHEN r.outcome = 'transient' THEN 'voided' ELSE r.outcome END
