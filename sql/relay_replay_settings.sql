-- For the transactions of a replay: times as text are in UTC, and each page is planned
-- for its stretch of time.
SELECT set_config('timezone', 'UTC', true), set_config('datestyle', 'ISO, YMD', true), set_config('plan_cache_mode', 'force_custom_plan', true)
