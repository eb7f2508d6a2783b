-- Schema gapless, the identifiers' functions and the audit trail: what every
-- other component stands on.

-- +goose Up

CREATE SCHEMA IF NOT EXISTS gapless;

COMMENT ON SCHEMA gapless IS 'Gapless: transactional outbox, inbox, sagas. One in every database that holds an outbox or an inbox.';

-- UUIDv7 of RFC 9562: 48 bits of milliseconds, 12 bits of sub-millisecond
-- fraction (method 3 of section 6.2), so that ids of one session sort in the
-- order in which they were made, and 62 random bits.
-- +goose StatementBegin
CREATE FUNCTION gapless.uuid7(at timestamptz DEFAULT clock_timestamp()) RETURNS uuid
    LANGUAGE sql VOLATILE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp -- or a caller's operators in another schema would be taken
AS $$
    WITH t AS (
        SELECT floor(extract(epoch FROM at) * 1000)::bigint AS ms,
               floor((extract(epoch FROM at) * 1000 - floor(extract(epoch FROM at) * 1000)) * 4096)::int AS frac
    )
    SELECT encode(
        substring(int8send(t.ms) FROM 3)
        || substring(int4send(28672 + t.frac) FROM 3)
        || set_byte(r.b, 0, (get_byte(r.b, 0) & 63) | 128),
        'hex')::uuid
    FROM t, (SELECT substring(uuid_send(gen_random_uuid()) FROM 9) AS b) AS r
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION gapless.uuid7(timestamptz) IS 'UUIDv7 (RFC 9562) of the given time, sub-millisecond fraction included.';

-- The smallest UUIDv7 of a time: the bound of an inbox partition.
-- +goose StatementBegin
CREATE FUNCTION gapless.uuid7_floor(at timestamptz) RETURNS uuid
    LANGUAGE sql IMMUTABLE PARALLEL SAFE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT encode(
        substring(int8send(floor(extract(epoch FROM at) * 1000)::bigint) FROM 3) || '\x70008000000000000000'::bytea,
        'hex')::uuid
$$;
-- +goose StatementEnd

-- The time inside a UUIDv7, NULL for every other version.
-- +goose StatementBegin
CREATE FUNCTION gapless.uuid7_time(id uuid) RETURNS timestamptz
    LANGUAGE sql IMMUTABLE PARALLEL SAFE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT CASE WHEN get_byte(uuid_send(id), 6) >> 4 = 7 THEN
        to_timestamp((
            (get_byte(uuid_send(id), 0)::bigint << 40) | (get_byte(uuid_send(id), 1)::bigint << 32) |
            (get_byte(uuid_send(id), 2)::bigint << 24) | (get_byte(uuid_send(id), 3)::bigint << 16) |
            (get_byte(uuid_send(id), 4)::bigint << 8)  | get_byte(uuid_send(id), 5)::bigint) / 1000.0)
    END
$$;
-- +goose StatementEnd

-- Every mending by a person or a command leaves a row here.
CREATE TABLE gapless.audit (
    audit_id bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT audit_pkey PRIMARY KEY,
    at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    actor    text NOT NULL DEFAULT session_user,
    action   text NOT NULL,
    target   text NOT NULL,
    reason   text NOT NULL,
    detail   jsonb NOT NULL DEFAULT '{}'
);

COMMENT ON TABLE gapless.audit IS 'Who mended what, when and why. Append only.';

-- Schemas of the registry, stored by the deploy step so that neither a
-- checkout nor psql ever calls it. `types` holds the flattened descriptors
-- that gapless.decode reads; their form is described there.
CREATE TABLE gapless.schema_version (
    schema_id     int NOT NULL,
    subject       text NOT NULL,
    version       int NOT NULL,
    message_type  text NOT NULL,
    message_index int[] NOT NULL DEFAULT '{0}',
    definition    text NOT NULL,
    types         jsonb NOT NULL,
    registry_url  text,
    registered_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT schema_version_pkey PRIMARY KEY (subject, version)
);

CREATE INDEX schema_version_schema_id_idx ON gapless.schema_version (schema_id);

COMMENT ON TABLE gapless.schema_version IS 'Registered schemas: registry id, subject, and the descriptors gapless.decode() reads.';

-- Partitions of a range-partitioned table are made by building the table
-- alone and attaching it: ATTACH takes SHARE UPDATE EXCLUSIVE on the parent,
-- CREATE … PARTITION OF would take ACCESS EXCLUSIVE and stop every writer.
-- +goose StatementBegin
CREATE FUNCTION gapless.partition_attach(parent regclass, name text, lower_bound text, upper_bound text) RETURNS void
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    EXECUTE format('CREATE TABLE gapless.%I (LIKE %s INCLUDING ALL)', name, parent);
    EXECUTE format('ALTER TABLE %s ATTACH PARTITION gapless.%I FOR VALUES FROM (%s) TO (%s)',
                   parent, name, lower_bound, upper_bound);
END
$$;
-- +goose StatementEnd

-- +goose Down

DROP FUNCTION gapless.partition_attach(regclass, text, text, text);
DROP TABLE gapless.schema_version;
DROP TABLE gapless.audit;
DROP FUNCTION gapless.uuid7_time(uuid);
DROP FUNCTION gapless.uuid7_floor(timestamptz);
DROP FUNCTION gapless.uuid7(timestamptz);
