-- What api and consume set on their connections, beside session_begin: each of
-- their statements finds its rows by an index. Postgres keeps the plan that it
-- made while a table was small or not yet analysed, and then reads the whole of
-- a table that has grown since, for every batch.
SELECT set_config('enable_seqscan', 'off', false), set_config('enable_hashjoin', 'off', false), set_config('enable_mergejoin', 'off', false)
