-- Notes what operator $1 did to a saga. The actor is the login, which cannot be claimed.
INSERT INTO gapless.audit (action, target, reason, detail)
VALUES ($2, $3, $4, jsonb_build_object('operator', $1::text))
