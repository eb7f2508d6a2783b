-- Dead letters, attempts and rows parked by the relay, of these events:
-- dead_letter_event_id_idx, parked_event_id_idx; inbox_attempt is small.
SELECT event_id, d.last_failed_at AS at, 'dead letter' AS store,
       format('%s gave up after %s attempts: %s (%s)', consumer, attempts, reason, status) AS what, d.dead_letter_id::text AS id,
       jsonb_build_object('consumer', consumer, 'reason', reason, 'status', status, 'attempts', attempts,
                          'topic', topic, 'partition', partition, 'offset', "offset", 'first_failed_at', first_failed_at) AS detail
FROM gapless.dead_letter AS d
WHERE event_id = ANY (@ids::uuid[])
UNION ALL
SELECT event_id, last_failed_at, 'attempt', format('%s has failed %s times and goes on trying', consumer, attempts), event_id::text,
       jsonb_build_object('consumer', consumer, 'attempts', attempts, 'topic', topic, 'partition', partition, 'offset', "offset")
FROM gapless.inbox_attempt
WHERE event_id = ANY (@ids::uuid[])
