-- A row of an outbox table that is not in it, from a JSON object ($1). The relay puts
-- the table's quoted name in the place of gapless.outbox.
SELECT o.*
FROM jsonb_populate_record(NULL::gapless.outbox, $1::jsonb) AS o
