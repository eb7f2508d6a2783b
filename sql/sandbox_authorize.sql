-- Authorisations of the sandbox gateway: each request is remembered by its key,
-- and a charge is made once for a key. Two transient failures turn into success
-- at the third call. One statement, so one transaction; no key twice in it.
-- Index: requests_pkey, charges_pkey. Locks: the requests' rows in array order
-- (sorted); a second call of the same key waits for the first.
WITH given AS (
    SELECT key, charge_id, outcome, order_id, token, currency, amount_minor
    FROM unnest($1::text[], $2::text[], $3::text[], $4::uuid[], $5::text[], $6::text[], $7::bigint[])
        AS g (key, charge_id, outcome, order_id, token, currency, amount_minor)
), request AS (
    INSERT INTO sandbox.requests AS r (idempotency_key, operation, charge_id, outcome)
    SELECT key, 'authorize', charge_id, outcome FROM given
    ON CONFLICT (idempotency_key) DO UPDATE
    SET calls = r.calls + 1,
        outcome = CASE WHEN r.outcome = 'transient' AND r.calls >= 2 THEN 'authorized' ELSE r.outcome END
    RETURNING r.idempotency_key, r.calls, r.outcome
), charge AS (
    INSERT INTO sandbox.charges (charge_id, order_id, token, status, currency, amount_minor)
    SELECT g.charge_id, g.order_id, g.token, 'authorized', g.currency, g.amount_minor
    FROM request AS r
    JOIN given AS g ON g.key = r.idempotency_key
    WHERE r.outcome = 'authorized'
    ON CONFLICT (charge_id) DO NOTHING
)
SELECT idempotency_key, calls, outcome
FROM request
