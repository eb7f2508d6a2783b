-- The outbox: one row an event, written in the caller's own transaction.

-- +goose Up

CREATE TABLE gapless.outbox (
    id                uuid        NOT NULL DEFAULT gapless.uuid7(),
    aggregatetype     text        NOT NULL,
    aggregateid       text        NOT NULL,
    aggregate_version bigint,
    type              text        NOT NULL,
    payload           bytea,
    headers           jsonb       NOT NULL DEFAULT '{}',
    created_at        timestamptz NOT NULL DEFAULT clock_timestamp(),
    xid               xid8        NOT NULL DEFAULT pg_current_xact_id(),
    CONSTRAINT outbox_pkey PRIMARY KEY (id, created_at),
    -- The broker's rules for a topic name; `outbox.event.` takes 13 of its 249. A
    -- counted repetition in the pattern would cost a third of the whole insert.
    CONSTRAINT outbox_aggregatetype_check CHECK (aggregatetype !~ '[^A-Za-z0-9._-]' AND octet_length(aggregatetype) BETWEEN 1 AND 236),
    CONSTRAINT outbox_aggregateid_check CHECK (octet_length(aggregateid) BETWEEN 1 AND 1024),
    CONSTRAINT outbox_aggregate_version_check CHECK (aggregate_version > 0),
    CONSTRAINT outbox_type_check CHECK (octet_length(type) BETWEEN 1 AND 255),
    CONSTRAINT outbox_payload_check CHECK (octet_length(payload) <= 1048576),
    CONSTRAINT outbox_headers_check CHECK (octet_length(headers::text) <= 16384 AND jsonb_typeof(headers) = 'object'
        -- strict: lax would look into an array and find strings there
        AND NOT jsonb_path_exists(headers, 'strict $.* ? (@.type() != "string")'))
) PARTITION BY RANGE (created_at);

-- The catch-up after a lost slot asks by xid; xid8 has no BRIN operator class.
CREATE INDEX outbox_xid_idx ON gapless.outbox USING btree (xid);
-- One aggregate's history, for trace, verify and psql.
CREATE INDEX outbox_aggregate_idx ON gapless.outbox USING btree (aggregateid, aggregatetype);
-- A stretch of time, for replays. BRIN, which costs an insert next to nothing.
CREATE INDEX outbox_created_at_idx ON gapless.outbox USING brin (created_at) WITH (autosummarize);

COMMENT ON TABLE gapless.outbox IS 'Events to be relayed. Insert here (gapless.append, or the Go library) in the transaction of the change itself.';
COMMENT ON COLUMN gapless.outbox.aggregate_version IS 'Assigned under the aggregate''s row lock: the order oracle. created_at and xid are not commit order.';

-- Daily partitions. The first runs from MINVALUE and the last to MAXVALUE, so
-- that no created_at is ever refused; there is no DEFAULT partition, because
-- DETACH … CONCURRENTLY is refused beside one.
-- +goose StatementBegin
CREATE FUNCTION gapless.outbox_partitions_create(days_ahead int DEFAULT 14) RETURNS int
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp -- or a caller's temporary pg_class would be read
    SET timezone = 'UTC'
    SET datestyle = 'ISO, YMD'
    SET lock_timeout = '100ms'
AS $$
DECLARE
    today     date := (clock_timestamp() AT TIME ZONE 'UTC')::date;
    until     date := today + days_ahead + 15;
    first_day date;
    last_rel  regclass;
    has_row   boolean;
    made      int := 0;
    d         date;
BEGIN
    IF days_ahead NOT BETWEEN 1 AND 366 THEN
        RAISE EXCEPTION 'days_ahead must be between 1 and 366' USING ERRCODE = '22023';
    END IF;
    IF NOT pg_try_advisory_xact_lock(hashtextextended('gapless.outbox_partitions', 0)) THEN
        RETURN 0; -- another process is at it
    END IF;

    SELECT c.oid::regclass,
           (regexp_match(pg_get_expr(c.relpartbound, c.oid), 'FROM \(''([0-9-]{10})'))[1]::date
    INTO last_rel, first_day
    FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid
    WHERE i.inhparent = 'gapless.outbox'::regclass
      AND pg_get_expr(c.relpartbound, c.oid) LIKE '%TO (MAXVALUE)';

    IF last_rel IS NULL THEN -- the first call: the table is new and has no writers
        PERFORM gapless.partition_attach('gapless.outbox', 'outbox_p' || to_char(today, 'YYYYMMDD'),
            'MINVALUE', quote_literal(today + 1 || ' 00:00:00+00'));
        first_day := today + 1;
        made := 1;
    ELSIF first_day > today + days_ahead THEN
        RETURN 0;
    ELSE
        EXECUTE format('SELECT EXISTS (SELECT FROM %s)', last_rel) INTO has_row;
        IF has_row THEN
            RAISE EXCEPTION 'the last partition % holds rows and cannot be split', last_rel
                USING HINT = 'A clock runs days ahead: find the rows with created_at after ' || first_day || '.';
        END IF;
    END IF;

    -- The tables are built before the parent is locked: see below.
    FOR d IN SELECT generate_series(first_day, until - 1, interval '1 day')::date LOOP
        EXECUTE format('CREATE TABLE gapless.%I (LIKE gapless.outbox INCLUDING ALL)', 'outbox_p' || to_char(d, 'YYYYMMDD'));
    END LOOP;
    EXECUTE format('CREATE TABLE gapless.%I (LIKE gapless.outbox INCLUDING ALL)', 'outbox_p' || to_char(until, 'YYYYMMDD') || '_max');

    IF last_rel IS NOT NULL THEN
        -- Splitting the open end means taking it off, which asks for ACCESS
        -- EXCLUSIVE on the parent and holds it to the end of the transaction. So:
        -- rarely (a fortnight at once), with everything else done before, and
        -- never waiting longer than lock_timeout with writers queued behind.
        EXECUTE format('ALTER TABLE gapless.outbox DETACH PARTITION %s', last_rel);
        EXECUTE format('SELECT EXISTS (SELECT FROM %s)', last_rel) INTO has_row;
        IF has_row THEN
            RAISE EXCEPTION 'the last partition % received a row and cannot be split', last_rel
                USING HINT = 'A clock runs days ahead: find the rows with created_at after ' || first_day || '.';
        END IF;
    END IF;
    FOR d IN SELECT generate_series(first_day, until - 1, interval '1 day')::date LOOP
        EXECUTE format('ALTER TABLE gapless.outbox ATTACH PARTITION gapless.%I FOR VALUES FROM (%L) TO (%L)',
                       'outbox_p' || to_char(d, 'YYYYMMDD'), d || ' 00:00:00+00', d + 1 || ' 00:00:00+00');
        made := made + 1;
    END LOOP;
    EXECUTE format('ALTER TABLE gapless.outbox ATTACH PARTITION gapless.%I FOR VALUES FROM (%L) TO (MAXVALUE)',
                   'outbox_p' || to_char(until, 'YYYYMMDD') || '_max', until || ' 00:00:00+00');
    IF last_rel IS NOT NULL THEN
        EXECUTE format('DROP TABLE %s', last_rel);
    END IF;
    RETURN made + 1;
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION gapless.outbox_partitions_create(int) IS 'Keeps at least days_ahead daily partitions ready; returns how many it made (0 also while another process is at it). Raises 55P03 when a long transaction is in the way: call again later.';
REVOKE EXECUTE ON FUNCTION gapless.outbox_partitions_create(int) FROM PUBLIC;

SELECT gapless.outbox_partitions_create();

ALTER PUBLICATION gapless ADD TABLE gapless.outbox;

-- Other languages: one call in their transaction.
-- +goose StatementBegin
CREATE FUNCTION gapless.append(
    aggregatetype     text,
    aggregateid       text,
    type              text,
    payload           bytea,
    aggregate_version bigint DEFAULT NULL,
    headers           jsonb  DEFAULT '{}',
    id                uuid   DEFAULT NULL
) RETURNS uuid
    LANGUAGE sql VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $$
    INSERT INTO gapless.outbox (id, aggregatetype, aggregateid, aggregate_version, type, payload, headers)
    VALUES (coalesce(id, gapless.uuid7()), aggregatetype, aggregateid, aggregate_version, type, payload, coalesce(headers, '{}'))
    RETURNING id
$$;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE FUNCTION gapless.append(
    aggregatetype     text,
    aggregateid       text,
    type              text,
    payload           jsonb,
    aggregate_version bigint DEFAULT NULL,
    headers           jsonb  DEFAULT '{}',
    id                uuid   DEFAULT NULL
) RETURNS uuid
    LANGUAGE sql VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT gapless.append(aggregatetype, aggregateid, type, convert_to(payload::text, 'UTF8'), aggregate_version,
                          '{"content-type": "application/json"}'::jsonb || coalesce(headers, '{}'), id)
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION gapless.append(text, text, text, bytea, bigint, jsonb, uuid) IS 'Writes one event into the outbox in the current transaction and returns its id. Name content-type in headers.';
COMMENT ON FUNCTION gapless.append(text, text, text, jsonb, bigint, jsonb, uuid) IS 'Writes one JSON event into the outbox in the current transaction and returns its id.';

-- What the relay knows, one row a slot. Written only by the relay that holds
-- the slot: `incarnation` fences a zombie.
CREATE TABLE gapless.relay_progress (
    slot                    text CONSTRAINT relay_progress_pkey PRIMARY KEY,
    system_id               text NOT NULL,
    timeline                int NOT NULL,
    resume_lsn              pg_lsn NOT NULL,
    partial_commit_lsn      pg_lsn,
    partial_index           bigint NOT NULL DEFAULT 0,
    messages                boolean NOT NULL DEFAULT false, -- logical messages are counted in the places of changes
    incarnation             bigint NOT NULL DEFAULT 0,
    proofs                  jsonb NOT NULL DEFAULT '[]',
    publication_fingerprint text,
    events                  bigint NOT NULL DEFAULT 0,
    last_commit_at          timestamptz,
    take_over_lsn           pg_lsn, -- up to here another program may have sent rows: which ones the topics tell
    relay_id                text,
    updated_at              timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT relay_progress_proofs_check CHECK (jsonb_typeof(proofs) = 'array'),
    CONSTRAINT relay_progress_partial_check CHECK (partial_index >= 0 AND (partial_commit_lsn IS NOT NULL OR partial_index = 0)),
    CONSTRAINT relay_progress_slot_check CHECK (slot ~ '^[a-z0-9_]{1,63}$')
) WITH (fillfactor = 50); -- one hot row: leave room for HOT updates

COMMENT ON TABLE gapless.relay_progress IS 'Position and proofs of each slot: everything before resume_lsn is in Kafka or in gapless.parked.';

-- What an operator wants of the relays of a slot.
CREATE TABLE gapless.relay_control (
    slot       text CONSTRAINT relay_control_pkey PRIMARY KEY,
    paused     boolean NOT NULL,
    reason     text NOT NULL,
    actor      text NOT NULL DEFAULT session_user,
    changed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    wished_lsn pg_lsn NOT NULL DEFAULT pg_current_wal_insert_lsn(), -- where in the log that was: a signal of before does not end a pause
    -- The last signal that was executed. It is read again after a restart.
    signal_system_id text,
    signal_lsn       pg_lsn,
    signal_index     bigint,
    CONSTRAINT relay_control_slot_check CHECK (slot ~ '^[a-z0-9_]{1,63}$')
);

-- Who it was is not for the writer to say.
-- +goose StatementBegin
CREATE FUNCTION gapless.relay_control_stamp() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    NEW.actor := session_user;
    NEW.changed_at := clock_timestamp();
    RETURN NEW;
END
$$;
-- +goose StatementEnd

CREATE TRIGGER relay_control_stamp BEFORE UPDATE ON gapless.relay_control FOR EACH ROW
    WHEN ((OLD.paused, OLD.reason, OLD.wished_lsn) IS DISTINCT FROM (NEW.paused, NEW.reason, NEW.wished_lsn))
    EXECUTE FUNCTION gapless.relay_control_stamp();

COMMENT ON TABLE gapless.relay_control IS 'What an operator wants of the relays of a slot: paused ones send nothing and keep the slot.';

-- What the relay that has a slot alone knows, for 'gapless relay status'. Written when it
-- changes, at most once a second.
CREATE TABLE gapless.relay_status (
    slot        text CONSTRAINT relay_status_pkey PRIMARY KEY,
    state       text NOT NULL,
    reason      text NOT NULL,
    held        bigint NOT NULL, -- rows that wait for a topic which takes nothing
    held_topics text[] NOT NULL,
    oldest_at   timestamptz, -- the commit of the oldest event that is not acknowledged, where that is late
    told_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT relay_status_slot_check CHECK (slot ~ '^[a-z0-9_]{1,63}$')
) WITH (fillfactor = 50);

COMMENT ON TABLE gapless.relay_status IS 'What the relay of each slot last told of itself: its state, why, the rows that wait for topics, and how late it is.';

-- Since when rows of a table of one's own are relayed for certain: of what was written
-- before that, retention leaves all.
CREATE TABLE gapless.relay_table (
    slot       text NOT NULL,
    relation   text NOT NULL,
    membership text NOT NULL, -- of the publication, and of the table in it
    since      xid8 NOT NULL, -- a transaction from this one on found the table published, and the slot there
    CONSTRAINT relay_table_pkey PRIMARY KEY (slot, relation),
    CONSTRAINT relay_table_slot_check CHECK (slot ~ '^[a-z0-9_]{1,63}$')
);

COMMENT ON TABLE gapless.relay_table IS 'Since which transaction the rows of a table of one''s own are relayed for certain; retention deletes no older ones.';

-- What an operator asks of the relay for parked rows. The relay that has the slot
-- answers: it alone sends, so that a key's order is kept.
CREATE TABLE gapless.relay_request (
    id           bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT relay_request_pkey PRIMARY KEY,
    slot         text NOT NULL,
    action       text NOT NULL,
    filter       jsonb NOT NULL, -- as it was asked for, for the reader
    reason       text NOT NULL,
    actor        text NOT NULL DEFAULT session_user,
    requested_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    finished_at  timestamptz,
    CONSTRAINT relay_request_action_check CHECK (action IN ('redrive', 'discard')),
    CONSTRAINT relay_request_slot_check CHECK (slot ~ '^[a-z0-9_]{1,63}$')
);

CREATE INDEX relay_request_open_idx ON gapless.relay_request (slot) WHERE finished_at IS NULL;

COMMENT ON TABLE gapless.relay_request IS 'What operators asked the relay to do with parked rows; open while finished_at is null.';

-- Retention: partitions that are old enough are taken off the outbox, and dropped
-- when each row in them is proven to be relayed, by every relay of this database.
-- First taken off, then proven: a row that is committed between the proof and the
-- drop would be gone. Two steps, so that nobody waits for the proof.

-- What each relay of this database is proven to have passed: every row that the snapshot
-- sees. A proof counts on the timeline on which it was taken (the ids of transactions are
-- used again after a promotion), once the relay's position has passed it, and in a log that
-- has not lost its end. No snapshot: nothing is proven.
-- +goose StatementBegin
CREATE FUNCTION gapless.relay_proven() RETURNS TABLE (slot text, snapshot pg_snapshot)
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT r.slot,
           (SELECT p.snapshot
            FROM jsonb_to_recordset(r.proofs) AS p(system_id text, timeline int, snapshot text, lsn pg_lsn, fingerprint text, at timestamptz)
            WHERE p.lsn <= least(r.resume_lsn, pg_current_wal_insert_lsn()) AND p.system_id = r.system_id AND p.timeline = r.timeline
              AND p.fingerprint = r.publication_fingerprint
              AND p.timeline = ('x' || substring(pg_walfile_name(pg_current_wal_insert_lsn()) FOR 8))::bit(32)::int
            ORDER BY p.at DESC
            LIMIT 1)::pg_snapshot
    FROM gapless.relay_progress AS r
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION gapless.relay_proven() IS 'The newest snapshot of which each relay of this database is proven to have relayed every row; null where nothing is proven.';

-- A row's xmin with its epoch, which is this one's or the one before.
-- +goose StatementBegin
CREATE FUNCTION gapless.xid_with_epoch(xmin xid) RETURNS xid8
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT (CASE WHEN e.same_epoch > n.newest THEN e.same_epoch - 4294967296 ELSE e.same_epoch END)::text::xid8
    FROM (SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint AS newest) AS n,
         LATERAL (SELECT (n.newest & ~4294967295) | xmin::text::bigint AS same_epoch) AS e
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION gapless.xid_with_epoch(xid) IS 'The id of the transaction that wrote a row, which may be a subtransaction, by the row''s xmin.';

-- How many rows of a table, in the outbox's form, some relay is not proven to have
-- passed. An xid that no transaction has yet is of another server: the row was restored
-- from a copy, and what wrote it here its xmin tells.
-- +goose StatementBegin
CREATE FUNCTION gapless.outbox_unproven(rel regclass, before timestamptz DEFAULT 'infinity') RETURNS bigint
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    relay    record;
    n        bigint;
    unproven bigint := 0;
BEGIN
    IF NOT EXISTS (SELECT FROM gapless.relay_progress) THEN
        RAISE EXCEPTION 'no relay has a progress record, so no row is proven to be relayed' USING ERRCODE = '55000';
    END IF;
    -- A relay of other tables proves nothing about this one.
    IF NOT EXISTS (
        SELECT FROM gapless.relay_progress AS r
        JOIN pg_publication_rel AS m ON m.prrelid = 'gapless.outbox'::regclass
        WHERE format('r%s.%s.%s', m.oid, m.xmin, m.prrelid) = ANY (string_to_array(r.publication_fingerprint, ','))
    ) THEN
        RAISE EXCEPTION 'no relay with a progress record has gapless.outbox in its publication' USING ERRCODE = '55000';
    END IF;
    FOR relay IN
        SELECT p.slot, p.snapshot FROM gapless.relay_proven() AS p
    LOOP
        IF relay.snapshot IS NULL THEN
            RAISE EXCEPTION 'the relay of slot % has no proof of what it has relayed', relay.slot USING ERRCODE = '55000',
                HINT = 'Start it; if it is gone for good, delete its row in gapless.relay_progress.';
        END IF;
        EXECUTE format('SELECT count(*) FROM %s AS o WHERE o.xid >= pg_snapshot_xmin($1) AND NOT pg_visible_in_snapshot(o.xid, $1) AND o.created_at < $2 '
            'AND (o.xid < pg_snapshot_xmax(pg_current_snapshot()) OR gapless.xid_with_epoch(o.xmin) >= pg_snapshot_xmin($1))', rel)
        INTO n USING relay.snapshot, before;
        unproven := greatest(unproven, n);
    END LOOP;
    RETURN unproven;
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION gapless.outbox_unproven(regclass, timestamptz) IS 'Rows of the outbox, or of a table taken off it, that some relay of this database is not proven to have relayed. Raises 55000 where nothing can be proven.';

-- Takes off what is older than keep, and puts one empty partition in its place: no
-- created_at is refused. ACCESS EXCLUSIVE on the outbox, once a day, never waiting
-- longer than lock_timeout.
-- +goose StatementBegin
CREATE FUNCTION gapless.outbox_retire(keep interval) RETURNS int
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET timezone = 'UTC'
    SET datestyle = 'ISO, YMD'
    SET lock_timeout = '100ms'
AS $$
DECLARE
    cutoff date := ((clock_timestamp() - keep) AT TIME ZONE 'UTC')::date; -- the days before it are over
    past   text;
    old    record;
    taken  int := 0;
BEGIN
    IF keep < interval '1 day' THEN
        RAISE EXCEPTION 'keep must be at least a day' USING ERRCODE = '22023';
    END IF;
    IF NOT pg_try_advisory_xact_lock(hashtextextended('gapless.outbox_partitions', 0)) THEN
        RETURN 0; -- another process is at it
    END IF;
    -- Only whole partitions: the next begins at the newest bound that is not later than the cutoff.
    SELECT max(bound) INTO cutoff
    FROM (SELECT (regexp_match(pg_get_expr(c.relpartbound, c.oid), 'TO \(''([0-9-]{10})'))[1]::date AS bound, c.relname
          FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid
          WHERE i.inhparent = 'gapless.outbox'::regclass) AS b
    WHERE bound <= cutoff;
    past := 'outbox_past_' || to_char(cutoff, 'YYYYMMDD');
    IF cutoff IS NULL OR to_regclass('gapless.' || past) IS NOT NULL THEN
        RETURN 0;
    END IF;
    IF EXISTS (SELECT FROM gapless.parked AS k
               WHERE k.relation = 'gapless.outbox' AND k.status IN ('parked', 'waiting', 'redriving') AND k.source ->> 'too_large' = 'true') THEN
        RETURN 0; -- it was parked without its bytes, which are nowhere else
    END IF;
    -- Before anything is touched: what is not relayed yet stays where people look.
    IF gapless.outbox_unproven('gapless.outbox', cutoff::timestamptz) > 0 THEN
        RETURN 0;
    END IF;
    EXECUTE format('CREATE TABLE gapless.%I (LIKE gapless.outbox INCLUDING ALL)', past);
    FOR old IN
        SELECT c.oid::regclass AS rel
        FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid
        WHERE i.inhparent = 'gapless.outbox'::regclass
          AND (regexp_match(pg_get_expr(c.relpartbound, c.oid), 'TO \(''([0-9-]{10})'))[1]::date <= cutoff
        ORDER BY c.relname
    LOOP
        EXECUTE format('ALTER TABLE gapless.outbox DETACH PARTITION %s', old.rel);
        EXECUTE format('COMMENT ON TABLE %s IS %L', old.rel, 'gapless: taken off the outbox by retention');
        -- Committed while the lock was waited for: it stays where the relay's checks look.
        IF gapless.outbox_unproven(old.rel) > 0 THEN
            RAISE EXCEPTION 'rows of % were committed meanwhile and are not relayed yet', old.rel USING ERRCODE = '55000';
        END IF;
        taken := taken + 1;
    END LOOP;
    EXECUTE format('ALTER TABLE gapless.outbox ATTACH PARTITION gapless.%I FOR VALUES FROM (MINVALUE) TO (%L)', past, cutoff || ' 00:00:00+00');
    RETURN taken;
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION gapless.outbox_retire(interval) IS 'Takes the partitions off the outbox whose days are longer ago than keep, when all their rows are proven to be relayed; gapless.outbox_drop_retired() drops them. Returns how many. Raises 55P03 when a long transaction is in the way, 55000 where nothing can be proven.';

-- Drops what was taken off, table by table, when it is proven. A table whose rows are
-- not stays, and is tried again by the next call.
-- +goose StatementBegin
CREATE FUNCTION gapless.outbox_drop_retired(OUT dropped int, OUT kept int) RETURNS record
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET lock_timeout = '1s'
AS $$
DECLARE
    old record;
BEGIN
    dropped := 0;
    kept := 0;
    FOR old IN
        SELECT c.oid::regclass AS rel
        FROM pg_class AS c
        WHERE c.relnamespace = 'gapless'::regnamespace AND c.relkind = 'r' AND NOT c.relispartition AND c.relname LIKE 'outbox\_p%'
          AND obj_description(c.oid, 'pg_class') = 'gapless: taken off the outbox by retention'
        ORDER BY c.relname
    LOOP
        EXECUTE format('LOCK TABLE %s IN ACCESS EXCLUSIVE MODE', old.rel);
        IF gapless.outbox_unproven(old.rel) > 0 THEN
            kept := kept + 1;
        ELSE
            EXECUTE format('DROP TABLE %s', old.rel);
            dropped := dropped + 1;
        END IF;
    END LOOP;
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION gapless.outbox_drop_retired() IS 'Drops the tables that gapless.outbox_retire has taken off, when every row in them is proven to be relayed. Returns how many are dropped, and how many are not proven yet.';
REVOKE EXECUTE ON FUNCTION gapless.relay_proven(), gapless.xid_with_epoch(xid), gapless.outbox_unproven(regclass, timestamptz), gapless.outbox_retire(interval), gapless.outbox_drop_retired() FROM PUBLIC;

-- Rows that the broker would not take, with the record as it would have been.
CREATE TABLE gapless.parked (
    id               uuid CONSTRAINT parked_pkey PRIMARY KEY DEFAULT gapless.uuid7(),
    slot             text NOT NULL,
    event_id         uuid,
    relation         text NOT NULL,
    row_key          text,
    topic            text NOT NULL,
    record_key       bytea,
    record_value     bytea,
    headers          jsonb NOT NULL DEFAULT '[]',
    record_timestamp timestamptz,
    record_partition int, -- null: where the key says
    system_id        text NOT NULL, -- of the server in whose log the place is: a restored database goes on in another one
    timeline         int NOT NULL,
    commit_lsn       pg_lsn NOT NULL,
    commit_index     bigint NOT NULL,
    committed_at     timestamptz,
    source           jsonb, -- the row as the log had it, where no whole record could be made of it
    status           text NOT NULL DEFAULT 'parked',
    blocks           boolean NOT NULL DEFAULT true, -- later rows of the key wait behind it
    reason           text NOT NULL,
    error            text NOT NULL DEFAULT '',
    attempts         int NOT NULL DEFAULT 1,
    request          bigint CONSTRAINT parked_request_fkey REFERENCES gapless.relay_request, -- the last one that chose it
    parked_at        timestamptz NOT NULL DEFAULT clock_timestamp(),
    settled_at       timestamptz, -- when it was sent or discarded
    CONSTRAINT parked_status_check CHECK (status IN ('parked', 'waiting', 'redriving', 'redriven', 'discarded')),
    -- The relay may die between parking a row and storing its progress.
    CONSTRAINT parked_position_key UNIQUE (slot, system_id, commit_lsn, commit_index, timeline),
    CONSTRAINT parked_slot_check CHECK (slot ~ '^[a-z0-9_]{1,63}$')
);

-- A key may be longer than an index entry.
CREATE INDEX parked_open_idx ON gapless.parked (slot, relation, md5(row_key), commit_lsn, commit_index, timeline)
    WHERE status IN ('parked', 'waiting', 'redriving');
CREATE INDEX parked_event_id_idx ON gapless.parked (event_id);
CREATE INDEX parked_request_idx ON gapless.parked (request) WHERE request IS NOT NULL;

COMMENT ON TABLE gapless.parked IS 'Outbox rows the relay could not deliver (status parked), and those that wait behind them on the same key (waiting).';

-- Rows that are sent again on somebody's demand, beside the stream.
CREATE TABLE gapless.relay_replay (
    id          uuid CONSTRAINT relay_replay_pkey PRIMARY KEY DEFAULT gapless.uuid7(), -- the header gapless_replay
    slot        text NOT NULL,
    system_id   text NOT NULL,
    timeline    int NOT NULL,
    snapshot    pg_snapshot NOT NULL, -- no row that it does not see
    request     jsonb NOT NULL,
    rows        bigint NOT NULL, -- that were chosen
    first_at    timestamptz, -- of their times; null for a table without
    last_at     timestamptz,
    place       text[], -- of the last row that is settled: order, table, ctid
    sent        bigint NOT NULL DEFAULT 0,
    held        bigint NOT NULL DEFAULT 0, -- left out: of keys with parked rows
    failed      bigint NOT NULL DEFAULT 0,
    error       text NOT NULL DEFAULT '', -- of the last that failed, or what ended the replay
    runs        bigint NOT NULL DEFAULT 0,
    reason      text NOT NULL,
    actor       text NOT NULL DEFAULT session_user,
    started_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    finished_at timestamptz,
    -- Of one that a signal asked for: the relay that has the slot runs it.
    signal       text, -- the signal's id
    signal_lsn   pg_lsn, -- and its place in the log
    signal_index bigint,
    planned      boolean NOT NULL DEFAULT true, -- false: snapshot is the signal's, and rows are not counted yet
    paused       boolean NOT NULL DEFAULT false, -- by a signal
    CONSTRAINT relay_replay_slot_check CHECK (slot ~ '^[a-z0-9_]{1,63}$')
);

-- A signal is read again after a restart, and by two relays where one does not know that
-- it has lost the slot.
CREATE UNIQUE INDEX relay_replay_signal_idx ON gapless.relay_replay (slot, system_id, signal_lsn, signal_index, (request ->> 'table'))
    WHERE signal_lsn IS NOT NULL;

COMMENT ON TABLE gapless.relay_replay IS 'Replays of outbox rows, and how far each is; open while finished_at is null.';

-- Not xid, which the default tells: a made-up one would count as not relayed for ever.
SELECT gapless.grant_if_role('SELECT, INSERT (id, aggregatetype, aggregateid, aggregate_version, type, payload, headers, created_at)', 'TABLE gapless.outbox', r)
FROM unnest(ARRAY['gapless_app', 'gapless_consumer']) AS r;
SELECT gapless.grant_if_role('SELECT', 'TABLE gapless.outbox, gapless.relay_progress, gapless.relay_control, gapless.relay_status, gapless.relay_table, gapless.relay_request, gapless.relay_replay, gapless.parked', r)
FROM unnest(ARRAY['gapless_app', 'gapless_relay', 'gapless_consumer', 'gapless_readonly']) AS r;
SELECT gapless.grant_if_role('DELETE', 'TABLE gapless.relay_table', 'gapless_relay');
SELECT gapless.grant_if_role('INSERT, UPDATE', 'TABLE gapless.relay_table, gapless.relay_progress, gapless.relay_status, gapless.parked', 'gapless_relay');
SELECT gapless.grant_if_role('INSERT (slot, ' || c || '), UPDATE (' || c || ')', 'TABLE gapless.relay_control', 'gapless_relay')
FROM (VALUES ('paused, reason, wished_lsn, signal_system_id, signal_lsn, signal_index')) AS v (c);
SELECT gapless.grant_if_role('INSERT (slot, action, filter, reason), UPDATE (finished_at)', 'TABLE gapless.relay_request', 'gapless_relay');
SELECT gapless.grant_if_role('INSERT (slot, system_id, timeline, snapshot, request, rows, first_at, last_at, reason, signal, signal_lsn, signal_index, planned), '
    'UPDATE (place, sent, held, failed, error, runs, updated_at, finished_at, planned, request, snapshot, rows, first_at, last_at, paused)', 'TABLE gapless.relay_replay', 'gapless_relay');
SELECT gapless.grant_if_role('EXECUTE', f, r)
FROM unnest(ARRAY['FUNCTION gapless.relay_proven()', 'FUNCTION gapless.xid_with_epoch(xid)', 'FUNCTION gapless.outbox_unproven(regclass, timestamptz)', 'FUNCTION gapless.outbox_retire(interval)', 'FUNCTION gapless.outbox_drop_retired()']) AS f,
     unnest(ARRAY['gapless_owner', 'gapless_relay']) AS r;
SELECT gapless.grant_if_role('EXECUTE', 'FUNCTION gapless.outbox_partitions_create(int)', r)
FROM unnest(ARRAY['gapless_owner', 'gapless_app', 'gapless_relay']) AS r;

-- +goose Down

ALTER PUBLICATION gapless DROP TABLE gapless.outbox;
DROP TABLE gapless.parked;
DROP TABLE gapless.relay_replay;
DROP TABLE gapless.relay_request;
DROP TABLE gapless.relay_table;
DROP TABLE gapless.relay_status;
DROP TABLE gapless.relay_control;
DROP FUNCTION gapless.relay_control_stamp();
DROP TABLE gapless.relay_progress;
DROP FUNCTION gapless.append(text, text, text, jsonb, bigint, jsonb, uuid);
DROP FUNCTION gapless.append(text, text, text, bytea, bigint, jsonb, uuid);
-- +goose StatementBegin
DO $$
DECLARE
    t regclass;
BEGIN
    FOR t IN SELECT c.oid FROM pg_class AS c
             WHERE c.relnamespace = 'gapless'::regnamespace AND c.relname LIKE 'outbox\_p%' AND NOT c.relispartition AND c.relkind = 'r'
               AND obj_description(c.oid, 'pg_class') = 'gapless: taken off the outbox by retention'
    LOOP
        EXECUTE format('DROP TABLE %s', t);
    END LOOP;
END
$$;
-- +goose StatementEnd
DROP FUNCTION gapless.outbox_drop_retired();
DROP FUNCTION gapless.outbox_retire(interval);
DROP FUNCTION gapless.outbox_unproven(regclass, timestamptz);
DROP FUNCTION gapless.xid_with_epoch(xid);
DROP FUNCTION gapless.relay_proven();
DROP FUNCTION gapless.outbox_partitions_create(int);
DROP TABLE gapless.outbox;
