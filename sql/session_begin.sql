-- What the program sets on its own connections. A query over some dozen
-- partitions is estimated dear enough for the just-in-time compiler, which then
-- takes seconds to compile what runs for milliseconds. And the server should find
-- within 15 s that we have vanished without a word: until then it keeps our locks.
SELECT set_config('jit', 'off', false), set_config('tcp_keepalives_idle', '5', false),
       set_config('tcp_keepalives_interval', '5', false), set_config('tcp_keepalives_count', '2', false)
