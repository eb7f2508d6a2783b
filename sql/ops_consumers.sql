-- What the inbox knows of each consumer. Locks: ACCESS SHARE.
SELECT consumer, generation, applied, ignored, retrying, blocked_keys, blocked_since, waiting_messages, dead_letters, last_applied_at
FROM gapless.inbox_status
ORDER BY consumer, generation
