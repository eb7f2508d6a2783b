-- What stands still for a consumer: open dead letters, the age in seconds of
-- the oldest, blocked keys, and messages that wait behind them.
-- Index: dead_letter_open_idx, key_block_pkey, key_block_message_pkey.
SELECT (SELECT count(*) FROM gapless.dead_letter WHERE status = 'parked' AND consumer = $1 AND generation = $2),
       (SELECT coalesce(extract(epoch FROM clock_timestamp() - min(last_failed_at)), 0)::float8
        FROM gapless.dead_letter WHERE status = 'parked' AND consumer = $1 AND generation = $2),
       (SELECT count(*) FROM gapless.key_block WHERE consumer = $1 AND generation = $2),
       (SELECT count(*) FROM gapless.key_block_message WHERE consumer = $1 AND generation = $2)
