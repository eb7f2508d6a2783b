-- Notes what an operator did to a saga.
INSERT INTO gapless.audit (actor, action, target, reason)
VALUES ($1, $2, $3, $4)
