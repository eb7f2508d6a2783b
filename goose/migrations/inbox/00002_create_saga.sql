-- Sagas: state in Postgres, moved only in the inbox transaction of the reply
-- that moves it, together with the next command's outbox row.

-- +goose Up

CREATE TABLE gapless.saga (
    saga_id       uuid CONSTRAINT saga_pkey PRIMARY KEY,
    type          text NOT NULL,
    definition    int NOT NULL DEFAULT 1,
    order_id      uuid NOT NULL,
    status        text NOT NULL,
    step          text NOT NULL DEFAULT '',
    reason        text,
    data          jsonb NOT NULL DEFAULT '{}',
    cancel_wanted boolean NOT NULL DEFAULT false,
    version       bigint NOT NULL DEFAULT 1,
    command_seq   bigint NOT NULL DEFAULT 0,
    deadline      timestamptz,
    traceparent   text,
    started_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    finished_at   timestamptz,
    CONSTRAINT saga_status_check CHECK (status IN ('running', 'waiting', 'compensating', 'completed', 'cancelled', 'needs_attention')),
    CONSTRAINT saga_finished_at_check CHECK ((finished_at IS NOT NULL) = (status IN ('completed', 'cancelled')))
);

CREATE UNIQUE INDEX saga_order_id_type_key ON gapless.saga (order_id, type);
-- The timer asks for what is due; most sagas are over and not in it.
CREATE INDEX saga_deadline_idx ON gapless.saga (deadline) WHERE deadline IS NOT NULL;
CREATE INDEX saga_open_idx ON gapless.saga (updated_at) WHERE finished_at IS NULL;

COMMENT ON TABLE gapless.saga IS 'One row a saga instance; data holds what later steps need.';
COMMENT ON COLUMN gapless.saga.status IS 'running; waiting (for a person, visibly); compensating; completed; cancelled (compensated); needs_attention (a person must act).';
COMMENT ON COLUMN gapless.saga.command_seq IS 'Last aggregate_version given to a command of this saga.';

-- One row for each step and direction that was started. No foreign key: the
-- saga's row is written or locked by the same transaction, and the check would
-- cost as much as the row.
CREATE TABLE gapless.saga_step (
    saga_id       uuid NOT NULL,
    step          text NOT NULL,
    direction     text NOT NULL,
    step_id       uuid NOT NULL,
    status        text NOT NULL,
    attempts      int NOT NULL DEFAULT 1,
    command_id    uuid,
    reply_id      uuid,
    reply_type    text,
    error         text,
    started_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    finished_at   timestamptz,
    CONSTRAINT saga_step_pkey PRIMARY KEY (saga_id, step, direction),
    CONSTRAINT saga_step_step_id_key UNIQUE (step_id),
    CONSTRAINT saga_step_direction_check CHECK (direction IN ('forward', 'compensation')),
    CONSTRAINT saga_step_status_check CHECK (status IN ('sent', 'done', 'rejected', 'failed', 'skipped'))
) WITH (fillfactor = 60); -- written twice, soon: leave room for HOT updates

COMMENT ON TABLE gapless.saga_step IS 'Steps started, forward and compensation. step_id is the idempotency key that the participant sees.';

-- Replies that moved nothing: late, second, or unknown. Kept, never applied.
CREATE TABLE gapless.saga_ignored_reply (
    saga_id     uuid NOT NULL,
    event_id    uuid NOT NULL,
    type        text NOT NULL,
    step_id     uuid,
    why         text NOT NULL,
    received_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT saga_ignored_reply_pkey PRIMARY KEY (saga_id, event_id)
);

SELECT gapless.grant_if_role('SELECT', 'TABLE gapless.saga, gapless.saga_step, gapless.saga_ignored_reply', r)
FROM unnest(ARRAY['gapless_app', 'gapless_relay', 'gapless_consumer', 'gapless_readonly']) AS r;
SELECT gapless.grant_if_role('INSERT, UPDATE', 'TABLE gapless.saga, gapless.saga_step, gapless.saga_ignored_reply', 'gapless_consumer');

-- +goose Down

DROP TABLE gapless.saga_ignored_reply;
DROP TABLE gapless.saga_step;
DROP TABLE gapless.saga;
