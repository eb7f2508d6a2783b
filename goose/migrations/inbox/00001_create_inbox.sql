-- The inbox: one row per (consumer, generation, event), claimed in the
-- transaction of the event's effect.

-- +goose Up

-- Partitioned by the event id, not by time of arrival: the key that makes the
-- claim unique must contain the partition key, and a claim by arrival time
-- admits the same event twice across midnight. A UUIDv7 carries its time.
CREATE TABLE gapless.inbox (
    consumer   text        NOT NULL,
    generation int         NOT NULL DEFAULT 1,
    event_id   uuid        NOT NULL,
    outcome    text        NOT NULL DEFAULT 'applied',
    topic      text        NOT NULL,
    partition  int         NOT NULL,
    "offset"   bigint      NOT NULL,
    position   text,
    applied_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT inbox_pkey PRIMARY KEY (consumer, generation, event_id),
    CONSTRAINT inbox_outcome_check CHECK (outcome IN ('applied', 'ignored', 'parked', 'waiting', 'discarded'))
) PARTITION BY RANGE (event_id);

COMMENT ON TABLE gapless.inbox IS 'What each consumer has applied. A claim is never deleted for a replay: a rebuild is a new generation.';
COMMENT ON COLUMN gapless.inbox.outcome IS 'applied; ignored (a type this consumer does not take, or stale); parked (dead letter); waiting (behind a blocked key); discarded (by a person).';

-- Ids that are no UUIDv7 of our time.
CREATE TABLE gapless.inbox_other PARTITION OF gapless.inbox DEFAULT;

-- +goose StatementBegin
CREATE FUNCTION gapless.inbox_partitions_create(days_ahead int DEFAULT 14) RETURNS int
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp -- or a caller's temporary pg_class would be read
    SET timezone = 'UTC'
    SET datestyle = 'ISO, YMD'
    SET lock_timeout = '100ms'
AS $$
DECLARE
    today date := (clock_timestamp() AT TIME ZONE 'UTC')::date;
    made  int := 0;
    d     date;
    name  text;
BEGIN
    IF days_ahead NOT BETWEEN 1 AND 366 THEN
        RAISE EXCEPTION 'days_ahead must be between 1 and 366' USING ERRCODE = '22023';
    END IF;
    IF NOT pg_try_advisory_xact_lock(hashtextextended('gapless.inbox_partitions', 0)) THEN
        RETURN 0; -- another process is at it
    END IF;
    IF to_regclass('gapless.inbox_p' || to_char(today + days_ahead, 'YYYYMMDD')) IS NOT NULL THEN
        RETURN 0;
    END IF;
    -- ATTACH beside a DEFAULT partition locks and reads that one: never queue
    -- claims behind it for longer than lock_timeout, and do it a fortnight at once.
    FOR d IN SELECT generate_series(today - 7, today + days_ahead + 14, interval '1 day')::date LOOP
        name := 'inbox_p' || to_char(d, 'YYYYMMDD');
        CONTINUE WHEN to_regclass('gapless.' || name) IS NOT NULL;
        -- Days that begin before the first partition may already have claims in
        -- the DEFAULT partition; ATTACH would refuse. They stay there.
        CONTINUE WHEN EXISTS (
            SELECT FROM gapless.inbox_other
            WHERE event_id >= gapless.uuid7_floor((d || ' 00:00:00+00')::timestamptz)
              AND event_id < gapless.uuid7_floor((d + 1 || ' 00:00:00+00')::timestamptz));
        PERFORM gapless.partition_attach('gapless.inbox', name,
            quote_literal(gapless.uuid7_floor((d || ' 00:00:00+00')::timestamptz)),
            quote_literal(gapless.uuid7_floor((d + 1 || ' 00:00:00+00')::timestamptz)));
        made := made + 1;
    END LOOP;
    RETURN made;
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION gapless.inbox_partitions_create(int) IS 'Keeps at least days_ahead daily partitions ready; returns how many it made (0 also while another process is at it). Raises 55P03 when a long transaction is in the way: call again later.';
REVOKE EXECUTE ON FUNCTION gapless.inbox_partitions_create(int) FROM PUBLIC;

SELECT gapless.inbox_partitions_create();

-- Messages that cannot be applied. The INSERT itself is relayed to
-- dlq.<group>.<topic>: key, value and headers are bytes, because text and
-- jsonb cannot hold what a broken message may hold.
CREATE TABLE gapless.dead_letter (
    dead_letter_id   uuid CONSTRAINT dead_letter_pkey PRIMARY KEY DEFAULT gapless.uuid7(),
    consumer         text NOT NULL,
    generation       int NOT NULL DEFAULT 1,
    event_id         uuid NOT NULL,
    type             text,
    topic            text NOT NULL,
    partition        int NOT NULL,
    "offset"         bigint NOT NULL,
    record_timestamp timestamptz NOT NULL,
    key              bytea,
    value            bytea,
    headers          jsonb NOT NULL DEFAULT '[]',
    reason           text NOT NULL,
    error            text NOT NULL DEFAULT '',
    attempts         int NOT NULL,
    status           text NOT NULL DEFAULT 'parked',
    first_failed_at  timestamptz NOT NULL,
    last_failed_at   timestamptz NOT NULL,
    xid              xid8 NOT NULL DEFAULT pg_current_xact_id(),
    CONSTRAINT dead_letter_headers_check CHECK (jsonb_typeof(headers) = 'array'),
    CONSTRAINT dead_letter_status_check CHECK (status IN ('parked', 'redriven', 'discarded'))
);

-- By the key's hash: a foreign record's key may be longer than an index entry.
CREATE INDEX dead_letter_open_idx ON gapless.dead_letter (consumer, topic, sha256(key)) WHERE status = 'parked';
CREATE INDEX dead_letter_event_id_idx ON gapless.dead_letter (event_id);

COMMENT ON TABLE gapless.dead_letter IS 'Messages a consumer could not apply; each insert is relayed to dlq.<group>.<topic>.';
COMMENT ON COLUMN gapless.dead_letter.headers IS 'Ordered array of [name, base64 value or null], as received.';

ALTER PUBLICATION gapless ADD TABLE gapless.dead_letter;

-- A poison message blocks its key for that consumer until it is redriven or
-- discarded. A null key blocks only itself and has no row here.
CREATE TABLE gapless.key_block (
    consumer       text NOT NULL,
    generation     int NOT NULL DEFAULT 1,
    topic          text NOT NULL,
    key            bytea NOT NULL,
    key_hash       bytea NOT NULL GENERATED ALWAYS AS (sha256(key)) STORED,
    dead_letter_id uuid NOT NULL,
    blocked_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT key_block_pkey PRIMARY KEY (consumer, generation, topic, key_hash),
    CONSTRAINT key_block_dead_letter_id_fkey FOREIGN KEY (dead_letter_id) REFERENCES gapless.dead_letter
);

COMMENT ON TABLE gapless.key_block IS 'Keys that wait for a dead letter. Consumers take the row FOR SHARE, a redrive FOR UPDATE.';

-- What came on a blocked key, in offset order, with its bytes. Not relayed.
CREATE TABLE gapless.key_block_message (
    consumer         text NOT NULL,
    generation       int NOT NULL DEFAULT 1,
    topic            text NOT NULL,
    key              bytea NOT NULL,
    partition        int NOT NULL,
    "offset"         bigint NOT NULL,
    event_id         uuid NOT NULL,
    type             text,
    record_timestamp timestamptz NOT NULL,
    value            bytea,
    headers          jsonb NOT NULL DEFAULT '[]',
    key_hash         bytea NOT NULL GENERATED ALWAYS AS (sha256(key)) STORED,
    received_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT key_block_message_pkey PRIMARY KEY (consumer, generation, topic, key_hash, partition, "offset")
);

COMMENT ON TABLE gapless.key_block_message IS 'Messages that wait behind a blocked key, with their bytes.';

-- Failures so far of messages that are still being tried. Written in a
-- transaction of its own, before the next try, so that a message which kills
-- the process is counted too.
CREATE TABLE gapless.inbox_attempt (
    consumer        text NOT NULL,
    generation      int NOT NULL DEFAULT 1,
    topic           text NOT NULL,
    partition       int NOT NULL,
    "offset"        bigint NOT NULL,
    event_id        uuid NOT NULL,
    attempts        int NOT NULL,
    error           text NOT NULL DEFAULT '',
    first_failed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    last_failed_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT inbox_attempt_pkey PRIMARY KEY (consumer, generation, topic, partition, "offset")
);

COMMENT ON TABLE gapless.inbox_attempt IS 'Attempts at messages that have failed and are neither applied nor parked yet.';

-- One row while a consumer process owns a partition, removed when it lets go
-- in good order: a row found at assignment means an unclean death, and the
-- first batch then runs message by message, each attempt recorded first.
CREATE TABLE gapless.inbox_assignment (
    consumer    text NOT NULL,
    generation  int NOT NULL DEFAULT 1,
    topic       text NOT NULL,
    partition   int NOT NULL,
    member      text NOT NULL,
    assigned_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT inbox_assignment_pkey PRIMARY KEY (consumer, generation, topic, partition)
);

COMMENT ON TABLE gapless.inbox_assignment IS 'Partitions being worked on; a row left behind tells of an unclean death.';

-- How far each partition is settled in this database. Kafka's committed offset
-- says the same of another moment: after a failover that lost transactions, or
-- after a restore, it is ahead, and what lies between would never come again.
CREATE TABLE gapless.inbox_offset (
    consumer    text NOT NULL,
    generation  int NOT NULL DEFAULT 1,
    topic       text NOT NULL,
    partition   int NOT NULL,
    next_offset bigint NOT NULL,
    updated_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT inbox_offset_pkey PRIMARY KEY (consumer, generation, topic, partition),
    CONSTRAINT inbox_offset_next_offset_check CHECK (next_offset >= 0)
) WITH (fillfactor = 50); -- few hot rows: leave room for HOT updates

COMMENT ON TABLE gapless.inbox_offset IS 'Every message before next_offset has its outcome in this database. A consumer begins at this or at Kafka''s committed offset, whichever is less.';

-- +goose StatementBegin
DO $$
DECLARE
    r text;
BEGIN
    PERFORM gapless.grant_if_role('SELECT', 'TABLE gapless.inbox, gapless.inbox_offset, gapless.dead_letter, gapless.key_block, gapless.key_block_message, gapless.inbox_attempt, gapless.inbox_assignment', x)
    FROM unnest(ARRAY['gapless_app', 'gapless_relay', 'gapless_consumer', 'gapless_readonly']) AS x;
    PERFORM gapless.grant_if_role('INSERT', 'TABLE gapless.inbox', 'gapless_consumer');
    PERFORM gapless.grant_if_role('INSERT, UPDATE', 'TABLE gapless.inbox_offset', 'gapless_consumer');
    PERFORM gapless.grant_if_role('UPDATE (outcome)', 'TABLE gapless.inbox', 'gapless_consumer');
    PERFORM gapless.grant_if_role('INSERT (dead_letter_id, consumer, generation, event_id, type, topic, partition, "offset", record_timestamp, key, value, headers, '
        'reason, error, attempts, status, first_failed_at, last_failed_at)', 'TABLE gapless.dead_letter', 'gapless_consumer'); -- not xid, as of the outbox
    PERFORM gapless.grant_if_role('UPDATE (status)', 'TABLE gapless.dead_letter', 'gapless_consumer');
    PERFORM gapless.grant_if_role('INSERT, UPDATE, DELETE', 'TABLE gapless.key_block, gapless.key_block_message, gapless.inbox_attempt, gapless.inbox_assignment', 'gapless_consumer');
    FOREACH r IN ARRAY ARRAY['gapless_owner', 'gapless_consumer'] LOOP
        PERFORM gapless.grant_if_role('EXECUTE', 'FUNCTION gapless.inbox_partitions_create(int)', r);
    END LOOP;
END
$$;
-- +goose StatementEnd

-- +goose Down

ALTER PUBLICATION gapless DROP TABLE gapless.dead_letter;
DROP TABLE gapless.inbox_offset;
DROP TABLE gapless.inbox_assignment;
DROP TABLE gapless.inbox_attempt;
DROP TABLE gapless.key_block_message;
DROP TABLE gapless.key_block;
DROP TABLE gapless.dead_letter;
DROP FUNCTION gapless.inbox_partitions_create(int);
DROP TABLE gapless.inbox;
