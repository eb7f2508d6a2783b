-- One schema a service, no foreign keys between them: each can move to a
-- database of its own.

-- +goose Up

CREATE SCHEMA inventory;

CREATE TABLE inventory.stock (
    sku        text CONSTRAINT stock_pkey PRIMARY KEY,
    initial    bigint NOT NULL,
    available  bigint NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT stock_initial_check CHECK (initial >= 0),
    -- The last line of defence against overselling.
    CONSTRAINT stock_available_check CHECK (available >= 0)
) WITH (fillfactor = 50);

CREATE TABLE inventory.reservations (
    order_id   uuid NOT NULL CONSTRAINT reservations_pkey PRIMARY KEY,
    status     text NOT NULL,
    items      jsonb NOT NULL,
    version    bigint NOT NULL DEFAULT 0,
    step_id    uuid,
    reason     text,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT reservations_status_check CHECK (status IN ('reserved', 'rejected', 'released'))
) WITH (fillfactor = 50); -- room for HOT updates

COMMENT ON COLUMN inventory.reservations.items IS 'Array of {"sku", "quantity"}, as asked for.';

CREATE TABLE inventory.stock_movements (
    movement_id uuid CONSTRAINT stock_movements_pkey PRIMARY KEY DEFAULT gapless.uuid7(),
    sku         text NOT NULL,
    order_id    uuid,
    delta       bigint NOT NULL,
    kind        text NOT NULL,
    event_id    uuid,
    created_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT stock_movements_kind_check CHECK (kind IN ('reserve', 'release', 'adjust')),
    -- One movement for each line of an order and direction, whatever happens.
    CONSTRAINT stock_movements_order_id_sku_kind_key UNIQUE (order_id, sku, kind)
) WITH (fillfactor = 70); -- room for HOT updates

CREATE INDEX stock_movements_sku_idx ON inventory.stock_movements (sku);

CREATE SCHEMA payment;

CREATE TABLE payment.payments (
    order_id       uuid CONSTRAINT payments_pkey PRIMARY KEY,
    status         text NOT NULL,
    currency       text NOT NULL,
    amount_minor   bigint NOT NULL,
    captured_minor bigint NOT NULL DEFAULT 0,
    refunded_minor bigint NOT NULL DEFAULT 0,
    charge_id      text,
    flagged        boolean NOT NULL DEFAULT false,
    reason         text,
    version        bigint NOT NULL DEFAULT 0,
    step_ids       jsonb NOT NULL DEFAULT '{}',
    created_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT payments_status_check CHECK (status IN ('authorized', 'declined', 'captured', 'voided', 'refunded')),
    CONSTRAINT payments_amounts_check CHECK (amount_minor >= 0 AND captured_minor BETWEEN 0 AND amount_minor AND refunded_minor BETWEEN 0 AND captured_minor)
) WITH (fillfactor = 60); -- room for HOT updates

COMMENT ON COLUMN payment.payments.step_ids IS 'Saga step id by command type: what has been answered already.';

-- The sandbox gateway's own ledger: another company's database, as it were.
-- It is written on its own connection, outside any handler's transaction.
CREATE SCHEMA sandbox;

CREATE TABLE sandbox.charges (
    charge_id      text CONSTRAINT charges_pkey PRIMARY KEY,
    order_id       uuid NOT NULL,
    token          text NOT NULL,
    status         text NOT NULL,
    currency       text NOT NULL,
    amount_minor   bigint NOT NULL,
    captured_minor bigint NOT NULL DEFAULT 0,
    refunded_minor bigint NOT NULL DEFAULT 0,
    created_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT charges_status_check CHECK (status IN ('authorized', 'captured', 'voided', 'refunded'))
) WITH (fillfactor = 70); -- room for HOT updates

-- Not unique: a gateway does not know what an order is. One charge an order
-- is what Gapless has to bring about, and what verify counts.
CREATE INDEX charges_order_id_idx ON sandbox.charges (order_id);

CREATE TABLE sandbox.requests (
    idempotency_key text CONSTRAINT requests_pkey PRIMARY KEY,
    operation       text NOT NULL,
    charge_id       text,
    calls           int NOT NULL DEFAULT 1,
    outcome         text NOT NULL,
    created_at      timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE SCHEMA fulfillment;

CREATE TABLE fulfillment.shipments (
    order_id        uuid CONSTRAINT shipments_pkey PRIMARY KEY,
    status          text NOT NULL,
    address         jsonb NOT NULL,
    tracking_number text,
    reason          text,
    version         bigint NOT NULL DEFAULT 0,
    step_ids        jsonb NOT NULL DEFAULT '{}',
    created_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT shipments_status_check CHECK (status IN ('created', 'failed', 'cancelled'))
) WITH (fillfactor = 80); -- room for HOT updates

CREATE SCHEMA notification;

CREATE TABLE notification.messages (
    message_id   text CONSTRAINT messages_pkey PRIMARY KEY,
    event_id     uuid NOT NULL CONSTRAINT messages_event_id_key UNIQUE,
    order_id     uuid NOT NULL,
    customer_id  text NOT NULL,
    kind         text NOT NULL,
    subject      text NOT NULL,
    body         text NOT NULL,
    status       text NOT NULL DEFAULT 'pending',
    attempts     int NOT NULL DEFAULT 0,
    next_try_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    error        text,
    created_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    sent_at      timestamptz,
    CONSTRAINT messages_status_check CHECK (status IN ('pending', 'sent', 'failed', 'not_sent'))
);

CREATE INDEX messages_pending_idx ON notification.messages (next_try_at) WHERE status = 'pending';
CREATE INDEX messages_order_id_idx ON notification.messages (order_id);

COMMENT ON COLUMN notification.messages.status IS 'pending; sent; failed (refused for good); not_sent (no SMTP server was configured).';

CREATE SCHEMA analytics;

CREATE TABLE analytics.sales_by_hour (
    hour          timestamptz NOT NULL,
    currency      text NOT NULL,
    orders        bigint NOT NULL,
    revenue_minor bigint NOT NULL,
    CONSTRAINT sales_by_hour_pkey PRIMARY KEY (hour, currency)
) WITH (fillfactor = 50);

COMMENT ON TABLE analytics.sales_by_hour IS 'Confirmed orders by the hour (UTC) of their confirmation.';

CREATE SCHEMA loyalty;

CREATE TABLE loyalty.points (
    order_id    uuid NOT NULL CONSTRAINT points_pkey PRIMARY KEY,
    customer_id text NOT NULL,
    points      bigint NOT NULL,
    event_id    uuid NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT points_points_check CHECK (points >= 0)
);

CREATE INDEX points_customer_id_idx ON loyalty.points (customer_id);

COMMENT ON TABLE loyalty.points IS 'Ledger: one point for each whole unit of 100 minor of a confirmed order.';

-- +goose StatementBegin
DO $$
DECLARE
    s text;
    r text;
BEGIN
    FOREACH s IN ARRAY ARRAY['inventory', 'payment', 'sandbox', 'fulfillment', 'notification', 'analytics', 'loyalty'] LOOP
        FOREACH r IN ARRAY ARRAY['gapless_owner', 'gapless_app', 'gapless_consumer', 'gapless_readonly'] LOOP
            PERFORM gapless.grant_if_role('USAGE', 'SCHEMA ' || s, r);
            PERFORM gapless.grant_if_role('SELECT', 'ALL TABLES IN SCHEMA ' || s, r);
        END LOOP;
    END LOOP;
    PERFORM gapless.grant_if_role('UPDATE (available, updated_at)', 'TABLE inventory.stock', 'gapless_consumer');
    PERFORM gapless.grant_if_role('INSERT, UPDATE', 'TABLE inventory.reservations, payment.payments, sandbox.charges, sandbox.requests, fulfillment.shipments, notification.messages, analytics.sales_by_hour', 'gapless_consumer');
    PERFORM gapless.grant_if_role('INSERT', 'TABLE inventory.stock_movements, loyalty.points', 'gapless_consumer');
END
$$;
-- +goose StatementEnd

-- +goose Down

DROP SCHEMA loyalty CASCADE;
DROP SCHEMA analytics CASCADE;
DROP SCHEMA notification CASCADE;
DROP SCHEMA fulfillment CASCADE;
DROP SCHEMA sandbox CASCADE;
DROP SCHEMA payment CASCADE;
DROP SCHEMA inventory CASCADE;
