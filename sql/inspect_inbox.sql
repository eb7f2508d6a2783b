-- What each consumer has done, by outcome, in the last day (by event id).
SELECT consumer, generation, outcome, count(*) AS events, max(applied_at) AS last_applied_at
FROM gapless.inbox
WHERE event_id >= gapless.uuid7_floor(now() - interval '1 day')
GROUP BY consumer, generation, outcome
ORDER BY consumer, generation, outcome
