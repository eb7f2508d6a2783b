-- For the transactions of a replay: times as text are in UTC, each page is planned for its
-- stretch of time, and no statement may take longer than $1, where that is not null.
SELECT set_config('timezone', 'UTC', true), set_config('datestyle', 'ISO, YMD', true), set_config('plan_cache_mode', 'force_custom_plan', true),
       set_config('statement_timeout', coalesce($1::text, current_setting('statement_timeout')), true)
