-- What a read-only transaction of the doctor begins with. Local to it: behind a
-- pooler the session is somebody else's a moment later. @milliseconds a statement.
SELECT set_config('jit', 'off', true), set_config('statement_timeout', @milliseconds::bigint::text, true)
