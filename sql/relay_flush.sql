-- Brings every commit so far to the server's disk: what is not there is not sent, and
-- commits of synchronous_commit = off may lag behind. A transaction that has written waits
-- for it. A large object that is gone before anybody sees it needs no right on any table
-- and is in nobody's stream.
SELECT lo_unlink(lo_create(0))
