-- Back to what the session came with.
SET LOCAL lock_timeout TO DEFAULT
