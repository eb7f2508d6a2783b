-- Parked rows of the slot @slot: how many are to be settled, how many wait behind
-- them, and the reasons. parked_open_idx.
SELECT count(*) FILTER (WHERE status <> 'waiting') AS parked, count(*) FILTER (WHERE status = 'waiting') AS waiting,
       coalesce(string_agg(DISTINCT reason, ', ') FILTER (WHERE status <> 'waiting'), '') AS reasons
FROM gapless.parked
WHERE slot = @slot AND status IN ('parked', 'waiting', 'redriving')
