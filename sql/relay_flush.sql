-- Brings every commit so far to the server's disk: peeking reads no further,
-- and commits of synchronous_commit = off may lag behind. The message itself
-- is nobody's.
SELECT pg_logical_emit_message(true, 'gapless.flush', '')::text
