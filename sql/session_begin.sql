-- What the program sets on its own connections. A query over some dozen
-- partitions is estimated dear enough for the just-in-time compiler, which then
-- takes seconds to compile what runs for milliseconds.
SET jit = off
