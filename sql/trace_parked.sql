-- Rows of these events that the relay put aside: parked_event_id_idx.
SELECT event_id, parked_at AS at, 'relay' AS store, format('%s: %s', status, reason) AS what, id::text AS id,
       jsonb_build_object('slot', slot, 'topic', topic, 'status', status, 'reason', reason, 'attempts', attempts,
                          'position', format('%s/%s/%s', timeline, commit_lsn, commit_index)) AS detail
FROM gapless.parked
WHERE event_id = ANY (@ids::uuid[])
