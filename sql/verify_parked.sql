-- Events the relay has put aside instead of sending. Redriven ones are in Kafka.
SELECT event_id
FROM gapless.parked
WHERE event_id IS NOT NULL AND status <> 'redriven'
