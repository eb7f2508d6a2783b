-- Whether the database knows a relay of slot @slot, or rows that one has parked; and which
-- other slots it knows. relay_progress_pkey, parked_open_idx.
WITH known AS (
    SELECT slot FROM gapless.relay_progress
    UNION
    SELECT slot FROM gapless.parked
)
SELECT EXISTS (SELECT FROM known WHERE slot = @slot) AS known,
       ARRAY(SELECT slot FROM known WHERE slot <> @slot ORDER BY slot)::text[] AS others
