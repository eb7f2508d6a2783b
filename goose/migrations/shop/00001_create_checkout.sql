-- Checkout: catalogue, orders, API keys, idempotency keys. The saga writes the
-- order's status after placement; both live in this database.

-- +goose Up

CREATE SCHEMA checkout;

CREATE TABLE checkout.products (
    sku         text CONSTRAINT products_pkey PRIMARY KEY,
    name        text NOT NULL,
    price_minor bigint NOT NULL,
    currency    text NOT NULL,
    updated_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT products_sku_check CHECK (octet_length(sku) BETWEEN 1 AND 64),
    CONSTRAINT products_price_minor_check CHECK (price_minor BETWEEN 0 AND 1000000000000),
    CONSTRAINT products_currency_check CHECK (currency ~ '^[A-Z]{3}$')
);

CREATE TABLE checkout.orders (
    order_id         uuid CONSTRAINT orders_pkey PRIMARY KEY,
    principal        text NOT NULL,
    customer_id      text NOT NULL,
    currency         text NOT NULL,
    total_minor      bigint NOT NULL,
    plan             text NOT NULL,
    payment_token    text NOT NULL,
    shipping_address jsonb NOT NULL,
    status           text NOT NULL DEFAULT 'pending',
    reason           text,
    stock_status     text NOT NULL DEFAULT 'undecided',
    version          bigint NOT NULL DEFAULT 1,
    traceparent      text,
    created_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    confirmed_at     timestamptz,
    CONSTRAINT orders_total_minor_check CHECK (total_minor >= 0),
    CONSTRAINT orders_plan_check CHECK (plan IN ('standard', 'trial')),
    CONSTRAINT orders_status_check CHECK (status IN ('pending', 'in_review', 'confirmed', 'cancelled', 'needs_attention')),
    CONSTRAINT orders_reason_check CHECK (reason IN ('out_of_stock', 'payment_declined', 'review_rejected', 'fulfillment_failed', 'compensation_failed', 'customer_cancelled')),
    CONSTRAINT orders_stock_status_check CHECK (stock_status IN ('undecided', 'reserved', 'rejected', 'not_needed')),
    CONSTRAINT orders_confirmed_at_check CHECK ((confirmed_at IS NOT NULL) = (status = 'confirmed'))
) WITH (fillfactor = 80); -- the saga updates the row two or three times

CREATE INDEX orders_principal_customer_id_idx ON checkout.orders (principal, customer_id, order_id);
CREATE INDEX orders_customer_id_idx ON checkout.orders (customer_id, order_id);

COMMENT ON COLUMN checkout.orders.version IS 'Aggregate version of the last event of this order; moved under the row lock.';
COMMENT ON COLUMN checkout.orders.order_id IS 'UUIDv7: sorts by time of placement, which the list of orders relies on.';

CREATE TABLE checkout.order_items (
    order_id         uuid NOT NULL,
    line             int NOT NULL,
    sku              text NOT NULL,
    quantity         int NOT NULL,
    unit_price_minor bigint NOT NULL,
    CONSTRAINT order_items_pkey PRIMARY KEY (order_id, line),
    CONSTRAINT order_items_order_id_fkey FOREIGN KEY (order_id) REFERENCES checkout.orders ON DELETE CASCADE,
    CONSTRAINT order_items_quantity_check CHECK (quantity BETWEEN 1 AND 10000),
    CONSTRAINT order_items_unit_price_minor_check CHECK (unit_price_minor >= 0)
) WITH (fillfactor = 60); -- its status changes soon and some times: room for HOT updates

-- API keys: only the SHA-256 of a key is kept.
CREATE TABLE checkout.api_keys (
    key_hash   bytea CONSTRAINT api_keys_pkey PRIMARY KEY,
    name       text NOT NULL CONSTRAINT api_keys_name_key UNIQUE,
    role       text NOT NULL DEFAULT 'customer',
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    revoked_at timestamptz,
    CONSTRAINT api_keys_key_hash_check CHECK (octet_length(key_hash) = 32),
    CONSTRAINT api_keys_role_check CHECK (role IN ('customer', 'operator'))
);

-- Written first, in the transaction of order and outbox row; only a 202 is
-- ever stored.
CREATE TABLE gapless.idempotency_key (
    principal    text NOT NULL,
    route        text NOT NULL,
    key          text NOT NULL,
    request_hash bytea NOT NULL,
    order_id     uuid NOT NULL,
    status_code  int NOT NULL,
    body         bytea NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT idempotency_key_pkey PRIMARY KEY (principal, route, key),
    CONSTRAINT idempotency_key_key_check CHECK (octet_length(key) BETWEEN 1 AND 255),
    CONSTRAINT idempotency_key_request_hash_check CHECK (octet_length(request_hash) = 32)
);

-- Retention deletes by age in batches.
CREATE INDEX idempotency_key_created_at_idx ON gapless.idempotency_key (created_at);

COMMENT ON TABLE gapless.idempotency_key IS 'Answers already given, by principal, route and Idempotency-Key. Written in the transaction of the order.';

SELECT gapless.grant_if_role('USAGE', 'SCHEMA checkout', r)
FROM unnest(ARRAY['gapless_owner', 'gapless_app', 'gapless_consumer', 'gapless_readonly']) AS r;
SELECT gapless.grant_if_role('SELECT', 'TABLE checkout.products, checkout.orders, checkout.order_items', r)
FROM unnest(ARRAY['gapless_app', 'gapless_consumer', 'gapless_readonly']) AS r;
SELECT gapless.grant_if_role('INSERT', 'TABLE checkout.orders, checkout.order_items', 'gapless_app');
SELECT gapless.grant_if_role('SELECT', 'TABLE checkout.api_keys', 'gapless_app');
SELECT gapless.grant_if_role('SELECT, INSERT, DELETE', 'TABLE gapless.idempotency_key', 'gapless_app');
SELECT gapless.grant_if_role('SELECT', 'TABLE gapless.idempotency_key', 'gapless_readonly');
SELECT gapless.grant_if_role('UPDATE (status, reason, stock_status, version, updated_at, confirmed_at)', 'TABLE checkout.orders', 'gapless_consumer');

-- +goose Down

DROP TABLE gapless.idempotency_key;
DROP SCHEMA checkout CASCADE;
