-- Reading payloads in psql: gapless.decode() turns Protobuf in Confluent's wire
-- format into the JSON of the proto3 mapping, by the descriptors that the
-- deploy step stored in gapless.schema_version.types.
--
-- That column is one JSON object for each schema, flattened so that nothing has
-- to be resolved here:
--
--   {"index":    {"0": "shop.v1.Order", "0.1": "shop.v1.Order.Line"},
--    "messages": {"shop.v1.Order": {"fields": {"1": <field>, "7": <field>},
--                                   "defaults": {"key": "", "value": 0}}},
--    "enums":    {"shop.v1.Plan": {"0": "PLAN_UNSPECIFIED", "1": "PLAN_STANDARD"}}}
--
--   index     message indexes of the wire format, joined by dots, to full names
--   field     {"name": JSON name, "kind": Protobuf kind, "wire": wire type,
--              "type": full name (messages and enums), "repeated": true,
--              "map": true, "oneof": [JSON names of the other members]};
--              what is false or empty is left out
--   defaults  of a map entry alone: what an absent key or value means
--
-- What differs from the proto3 JSON mapping: a field that no descriptor names is
-- kept as "?<number>": [values] (varints in decimal, fixed ones in hexadecimal,
-- the rest base64); a string with a NUL, which Postgres cannot hold, is
-- {"base64": "…"}; negative zero is 0; a Timestamp or Duration out of range stays
-- an object of seconds and nanos.

-- +goose Up

-- One scalar from its bits: a varint, or a fixed value as an unsigned number
-- (64 bits wrap into the sign).
-- +goose StatementBegin
CREATE FUNCTION gapless.decode_scalar(kind text, bits bigint, names jsonb) RETURNS jsonb
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
AS $$
DECLARE
    low      bigint;
    exponent int;
    fraction bigint;
BEGIN
    CASE kind
    WHEN 'int64', 'sfixed64' THEN
        RETURN to_jsonb(bits::text);
    WHEN 'int32', 'sfixed32', 'enum' THEN
        low := bits & 4294967295;
        IF low > 2147483647 THEN
            low := low - 4294967296;
        END IF;
        IF kind = 'enum' THEN
            RETURN coalesce(names -> low::text, to_jsonb(low));
        END IF;
        RETURN to_jsonb(low);
    WHEN 'bool' THEN
        RETURN to_jsonb(bits <> 0);
    WHEN 'uint32', 'fixed32' THEN
        RETURN to_jsonb(bits & 4294967295);
    WHEN 'uint64', 'fixed64' THEN
        IF bits >= 0 THEN
            RETURN to_jsonb(bits::text);
        END IF;
        RETURN to_jsonb((bits::numeric + 18446744073709551616)::text);
    WHEN 'sint32' THEN
        low := bits & 4294967295;
        RETURN to_jsonb((low >> 1) # -(low & 1));
    WHEN 'sint64' THEN
        RETURN to_jsonb((((bits >> 1) & 9223372036854775807) # -(bits & 1))::text);
    WHEN 'double' THEN
        exponent := (bits >> 52) & 2047;
        fraction := bits & 4503599627370495;
        IF exponent = 2047 THEN
            RETURN to_jsonb(CASE WHEN fraction <> 0 THEN 'NaN' WHEN bits < 0 THEN '-Infinity' ELSE 'Infinity' END);
        END IF;
        -- Exact: both factors are, and so is their product.
        RETURN to_jsonb(CASE WHEN bits < 0 THEN -1 ELSE 1 END * CASE WHEN exponent = 0
            THEN fraction::float8 * power(2::float8, -1074::float8)
            ELSE (fraction + 4503599627370496)::float8 * power(2::float8, (exponent - 1075)::float8) END);
    WHEN 'float' THEN
        exponent := (bits >> 23) & 255;
        fraction := bits & 8388607;
        IF exponent = 255 THEN
            RETURN to_jsonb(CASE WHEN fraction <> 0 THEN 'NaN' WHEN bits >= 2147483648 THEN '-Infinity' ELSE 'Infinity' END);
        END IF;
        -- As float4, so that it prints with the digits of one.
        RETURN to_jsonb((CASE WHEN bits >= 2147483648 THEN -1 ELSE 1 END * CASE WHEN exponent = 0
            THEN fraction::float8 * power(2::float8, -149::float8)
            ELSE (fraction + 8388608)::float8 * power(2::float8, (exponent - 150)::float8) END)::float4);
    ELSE
        RAISE EXCEPTION 'a stored descriptor names the unknown kind %', kind;
    END CASE;
END
$$;
-- +goose StatementEnd

-- The JSON forms that the proto3 mapping gives Google's well-known types;
-- `plain` is the message decoded like any other.
-- +goose StatementBegin
CREATE FUNCTION gapless.decode_well_known(type text, plain jsonb, messages jsonb, enums jsonb, depth int) RETURNS jsonb
    LANGUAGE plpgsql STABLE
AS $$
DECLARE
    seconds  bigint;
    nanos    int;
    fraction text := '';
    inner_type text;
    value    bytea;
    decoded  jsonb;
BEGIN
    CASE type
    WHEN 'google.protobuf.Timestamp', 'google.protobuf.Duration' THEN
        seconds := coalesce((plain ->> 'seconds')::bigint, 0);
        nanos := coalesce((plain ->> 'nanos')::int, 0);
        IF nanos <> 0 THEN
            fraction := '.' || lpad(abs(nanos::bigint)::text, 9, '0');
            fraction := CASE WHEN nanos % 1000000 = 0 THEN left(fraction, 4) WHEN nanos % 1000 = 0 THEN left(fraction, 7) ELSE fraction END;
        END IF;
        IF type = 'google.protobuf.Timestamp' THEN
            IF seconds NOT BETWEEN -62135596800 AND 253402300799 OR nanos NOT BETWEEN 0 AND 999999999 THEN
                RETURN plain;
            END IF;
            RETURN to_jsonb(to_char(to_timestamp(seconds) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS') || fraction || 'Z');
        END IF;
        IF abs(seconds::numeric) > 315576000000 OR nanos NOT BETWEEN -999999999 AND 999999999 OR sign(seconds) * sign(nanos) < 0 THEN
            RETURN plain;
        END IF;
        RETURN to_jsonb(CASE WHEN seconds < 0 OR nanos < 0 THEN '-' ELSE '' END || abs(seconds) || fraction || 's');
    WHEN 'google.protobuf.Struct' THEN
        RETURN coalesce(plain -> 'fields', '{}');
    WHEN 'google.protobuf.ListValue' THEN
        RETURN coalesce(plain -> 'values', '[]');
    WHEN 'google.protobuf.Value' THEN
        RETURN coalesce((SELECT v.value FROM jsonb_each(plain) AS v WHERE v.key NOT LIKE '?%' LIMIT 1), 'null');
    WHEN 'google.protobuf.BoolValue' THEN
        RETURN coalesce(plain -> 'value', 'false');
    WHEN 'google.protobuf.StringValue', 'google.protobuf.BytesValue' THEN
        RETURN coalesce(plain -> 'value', '""');
    WHEN 'google.protobuf.Int64Value', 'google.protobuf.UInt64Value' THEN
        RETURN coalesce(plain -> 'value', '"0"');
    WHEN 'google.protobuf.Int32Value', 'google.protobuf.UInt32Value', 'google.protobuf.FloatValue', 'google.protobuf.DoubleValue' THEN
        RETURN coalesce(plain -> 'value', '0');
    WHEN 'google.protobuf.FieldMask' THEN
        RETURN to_jsonb(coalesce((
            SELECT string_agg((
                SELECT string_agg(CASE WHEN w.nth = 1 THEN w.word ELSE upper(left(w.word, 1)) || substr(w.word, 2) END, '' ORDER BY w.nth)
                FROM unnest(string_to_array(p.path, '_')) WITH ORDINALITY AS w (word, nth)), ',' ORDER BY p.nth)
            FROM jsonb_array_elements_text(plain -> 'paths') WITH ORDINALITY AS p (path, nth)), ''));
    WHEN 'google.protobuf.Any' THEN
        IF plain ->> 'typeUrl' IS NULL THEN
            RETURN plain;
        END IF;
        inner_type := regexp_replace(plain ->> 'typeUrl', '^.*/', '');
        IF NOT messages ? inner_type THEN
            RETURN jsonb_build_object('@type', plain -> 'typeUrl', 'value', coalesce(plain -> 'value', '""'));
        END IF;
        value := decode(coalesce(plain ->> 'value', ''), 'base64');
        decoded := gapless.decode_message(value, 0, octet_length(value), inner_type, messages, enums, depth + 1);
        IF inner_type LIKE 'google.protobuf.%' THEN
            decoded := jsonb_build_object('value', decoded);
        END IF;
        RETURN jsonb_build_object('@type', plain -> 'typeUrl') || decoded;
    ELSE
        RETURN plain;
    END CASE;
END
$$;
-- +goose StatementEnd

-- Where the group of field `number`, whose contents begin at `pos`, ends: the
-- position of its end tag, and the first one past that.
-- +goose StatementBegin
CREATE FUNCTION gapless.decode_group_end(data bytea, pos int, past int, number bigint, depth int, OUT ends int, OUT next int)
    LANGUAGE plpgsql IMMUTABLE
AS $$
DECLARE
    v     bigint;
    b     int;
    shift int;
    wire  int;
BEGIN
    IF depth > 100 THEN
        RAISE EXCEPTION 'nested deeper than 100 levels';
    END IF;
    next := pos;
    LOOP
        ends := next;
        FOR part IN 1..2 LOOP -- the tag, then a varint or a length
            v := 0;
            shift := 0;
            LOOP
                IF next >= past OR shift > 63 THEN
                    RAISE EXCEPTION 'truncated at byte %', next;
                END IF;
                b := get_byte(data, next);
                next := next + 1;
                v := v | ((b & 127)::bigint << shift);
                EXIT WHEN b < 128;
                shift := shift + 7;
            END LOOP;
            IF part = 1 THEN
                wire := v & 7;
                IF wire = 4 THEN
                    IF (v >> 3) <> number THEN
                        RAISE EXCEPTION 'group % ends as %', number, v >> 3;
                    END IF;
                    RETURN;
                END IF;
                EXIT WHEN wire NOT IN (0, 2);
            END IF;
        END LOOP;
        CASE wire
        WHEN 0 THEN NULL;
        WHEN 1 THEN next := next + 8;
        WHEN 5 THEN next := next + 4;
        WHEN 2 THEN
            IF v < 0 OR v > past - next THEN
                RAISE EXCEPTION 'truncated at byte %', next;
            END IF;
            next := next + v::int;
        WHEN 3 THEN
            SELECT g.next INTO next FROM gapless.decode_group_end(data, next, past, v >> 3, depth + 1) AS g;
        ELSE
            RAISE EXCEPTION 'wire type % at byte %', wire, ends;
        END CASE;
    END LOOP;
END
$$;
-- +goose StatementEnd

-- One message: the bytes [first, past) of data. Raises on what is not Protobuf.
-- Written for speed where it is called for each byte or field: no composite
-- values, no query but the one that gathers repeated fields.
-- +goose StatementBegin
CREATE FUNCTION gapless.decode_message(data bytea, first int, past int, type text, messages jsonb, enums jsonb, depth int) RETURNS jsonb
    LANGUAGE plpgsql STABLE
AS $$
DECLARE
    message     jsonb  := messages -> type;
    fields      jsonb  := message -> 'fields';
    result      jsonb  := '{}';
    pos         int    := first;
    v           bigint;
    b           int;
    shift       int;
    number      bigint;
    wire        int;
    starts      int;
    ends        int;
    field       jsonb;
    kind        text;
    name        text;
    names       jsonb;
    value       jsonb;
    merged      bytea;
    other       text;
    -- Elements of repeated fields, maps and unknown fields, in their order.
    list_names  text[]    := '{}';
    list_values jsonb[]   := '{}';
    list_maps   boolean[] := '{}';
    -- Where singular messages were: one that comes again is merged.
    seen        bigint[]  := '{}';
    seen_starts int[]     := '{}';
    seen_ends   int[]     := '{}';
BEGIN
    IF depth > 100 THEN
        RAISE EXCEPTION 'nested deeper than 100 levels';
    END IF;
    WHILE pos < past LOOP
        starts := pos;
        v := get_byte(data, pos);
        pos := pos + 1;
        IF v > 127 THEN
            v := v & 127;
            shift := 7;
            LOOP
                IF pos >= past OR shift > 63 THEN
                    RAISE EXCEPTION 'truncated at byte %', pos;
                END IF;
                b := get_byte(data, pos);
                pos := pos + 1;
                v := v | ((b & 127)::bigint << shift);
                EXIT WHEN b < 128;
                shift := shift + 7;
            END LOOP;
        END IF;
        number := v >> 3;
        wire := v & 7;
        IF number NOT BETWEEN 1 AND 536870911 THEN
            RAISE EXCEPTION 'field number % at byte %', number, starts;
        END IF;

        -- Afterwards v holds the bits of a scalar, or [starts, ends) the bytes.
        IF wire = 0 OR wire = 2 THEN
            v := 0;
            shift := 0;
            LOOP
                IF pos >= past OR shift > 63 THEN
                    RAISE EXCEPTION 'truncated at byte %', pos;
                END IF;
                b := get_byte(data, pos);
                pos := pos + 1;
                v := v | ((b & 127)::bigint << shift);
                EXIT WHEN b < 128;
                shift := shift + 7;
            END LOOP;
            IF wire = 2 THEN
                IF v < 0 OR v > past - pos THEN
                    RAISE EXCEPTION 'truncated at byte %', pos;
                END IF;
                starts := pos;
                ends := pos + v::int;
                pos := ends;
            END IF;
        ELSIF wire = 1 OR wire = 5 THEN
            IF pos + (CASE wire WHEN 1 THEN 8 ELSE 4 END) > past THEN
                RAISE EXCEPTION 'truncated at byte %', pos;
            END IF;
            v := get_byte(data, pos)::bigint | (get_byte(data, pos + 1)::bigint << 8) | (get_byte(data, pos + 2)::bigint << 16) | (get_byte(data, pos + 3)::bigint << 24);
            pos := pos + 4;
            IF wire = 1 THEN
                v := v | (get_byte(data, pos)::bigint << 32) | (get_byte(data, pos + 1)::bigint << 40) | (get_byte(data, pos + 2)::bigint << 48) | (get_byte(data, pos + 3)::bigint << 56);
                pos := pos + 4;
            END IF;
        ELSIF wire = 3 THEN
            starts := pos;
            SELECT g.ends, g.next INTO ends, pos FROM gapless.decode_group_end(data, pos, past, number, depth + 1) AS g;
        ELSE
            RAISE EXCEPTION 'wire type % at byte %', wire, starts;
        END IF;

        field := fields -> number::text;
        -- Scalars of a repeated field may come packed.
        IF field IS NOT NULL AND (field ->> 'wire')::int <> wire AND NOT (wire = 2 AND field ? 'repeated' AND (field ->> 'wire')::int IN (0, 1, 5)) THEN
            field := NULL;
        END IF;
        IF field IS NULL THEN
            list_names := array_append(list_names, '?' || number);
            list_maps := array_append(list_maps, false);
            list_values := array_append(list_values, CASE wire
                WHEN 0 THEN gapless.decode_scalar('uint64', v, NULL)
                WHEN 1 THEN to_jsonb('0x' || lpad(to_hex(v), 16, '0'))
                WHEN 5 THEN to_jsonb('0x' || lpad(to_hex(v), 8, '0'))
                ELSE to_jsonb(translate(encode(substring(data FROM starts + 1 FOR ends - starts), 'base64'), E'\n', '')) END);
            CONTINUE;
        END IF;

        kind := field ->> 'kind';
        name := field ->> 'name';
        IF kind = 'string' THEN
            merged := substring(data FROM starts + 1 FOR ends - starts);
            IF position('\x00'::bytea IN merged) > 0 THEN
                value := jsonb_build_object('base64', translate(encode(merged, 'base64'), E'\n', ''));
            ELSE
                value := to_jsonb(convert_from(merged, 'UTF8'));
            END IF;
        ELSIF kind = 'bytes' THEN
            value := to_jsonb(translate(encode(substring(data FROM starts + 1 FOR ends - starts), 'base64'), E'\n', ''));
        ELSIF kind = 'message' OR kind = 'group' THEN
            IF field ? 'repeated' THEN
                value := gapless.decode_message(data, starts, ends, field ->> 'type', messages, enums, depth + 1);
            ELSE
                IF NOT result ? name THEN -- also: another member of its oneof came in between
                    seen := array_replace(seen, number, 0);
                END IF;
                IF cardinality(seen) >= 256 THEN -- each merges all before it: a payload could keep us for hours
                    RAISE EXCEPTION 'more than 256 message fields in one message';
                END IF;
                seen := array_append(seen, number);
                seen_starts := array_append(seen_starts, starts);
                seen_ends := array_append(seen_ends, ends);
                IF result ? name THEN
                    SELECT string_agg(substring(data FROM s.starts + 1 FOR s.ends - s.starts), ''::bytea ORDER BY s.nth)
                    INTO merged
                    FROM unnest(seen, seen_starts, seen_ends) WITH ORDINALITY AS s (num, starts, ends, nth)
                    WHERE s.num = number;
                    value := gapless.decode_message(merged, 0, octet_length(merged), field ->> 'type', messages, enums, depth + 1);
                ELSE
                    value := gapless.decode_message(data, starts, ends, field ->> 'type', messages, enums, depth + 1);
                END IF;
            END IF;
        ELSE
            names := CASE kind WHEN 'enum' THEN enums -> (field ->> 'type') END;
            IF wire = 2 THEN -- packed
                wire := (field ->> 'wire')::int;
                WHILE starts < ends LOOP
                    IF wire = 0 THEN
                        v := 0;
                        shift := 0;
                        LOOP
                            IF starts >= ends OR shift > 63 THEN
                                RAISE EXCEPTION 'truncated at byte %', starts;
                            END IF;
                            b := get_byte(data, starts);
                            starts := starts + 1;
                            v := v | ((b & 127)::bigint << shift);
                            EXIT WHEN b < 128;
                            shift := shift + 7;
                        END LOOP;
                    ELSE
                        IF starts + (CASE wire WHEN 1 THEN 8 ELSE 4 END) > ends THEN
                            RAISE EXCEPTION 'truncated at byte %', starts;
                        END IF;
                        v := get_byte(data, starts)::bigint | (get_byte(data, starts + 1)::bigint << 8) | (get_byte(data, starts + 2)::bigint << 16) | (get_byte(data, starts + 3)::bigint << 24);
                        starts := starts + 4;
                        IF wire = 1 THEN
                            v := v | (get_byte(data, starts)::bigint << 32) | (get_byte(data, starts + 1)::bigint << 40) | (get_byte(data, starts + 2)::bigint << 48) | (get_byte(data, starts + 3)::bigint << 56);
                            starts := starts + 4;
                        END IF;
                    END IF;
                    list_names := array_append(list_names, name);
                    list_maps := array_append(list_maps, false);
                    list_values := array_append(list_values, gapless.decode_scalar(kind, v, names));
                END LOOP;
                CONTINUE;
            END IF;
            value := gapless.decode_scalar(kind, v, names);
        END IF;

        IF field ? 'repeated' THEN
            list_names := array_append(list_names, name);
            list_maps := array_append(list_maps, field ? 'map');
            list_values := array_append(list_values, value);
        ELSE
            IF field ? 'oneof' THEN -- the last one set is the one
                FOR other IN SELECT jsonb_array_elements_text(field -> 'oneof') LOOP
                    result := result - other;
                END LOOP;
            END IF;
            result := result || jsonb_build_object(name, value);
        END IF;
    END LOOP;

    IF cardinality(list_names) > 0 THEN
        SELECT result || jsonb_object_agg(g.name, g.value)
        INTO result
        FROM (
            SELECT l.name, CASE WHEN bool_or(l.map)
                THEN jsonb_object_agg(coalesce(l.value ->> 'key', ''), l.value -> 'value' ORDER BY l.nth) FILTER (WHERE l.map)
                ELSE jsonb_agg(l.value ORDER BY l.nth) END AS value
            FROM unnest(list_names, list_values, list_maps) WITH ORDINALITY AS l (name, value, map, nth)
            GROUP BY l.name
        ) AS g;
    END IF;
    IF message ? 'defaults' THEN
        result := (message -> 'defaults') || result;
    ELSIF type LIKE 'google.protobuf.%' THEN
        result := gapless.decode_well_known(type, result, messages, enums, depth);
    END IF;
    RETURN result;
END
$$;
-- +goose StatementEnd

-- STABLE, not IMMUTABLE: it reads stored descriptors. Not parallel safe: it
-- catches errors, which takes a subtransaction.
-- +goose StatementBegin
CREATE FUNCTION gapless.decode(payload bytea) RETURNS jsonb
    LANGUAGE plpgsql STABLE STRICT
    SET search_path = pg_catalog, pg_temp
    SET extra_float_digits = 1
AS $$
DECLARE
    data   bytea := payload || ''::bytea; -- detoasted once, not at each get_byte
    id     bigint;
    path   text := '';
    types  jsonb;
    type   text;
    pos    int := 5;
    count  bigint := -1;
    v      bigint;
    b      int;
    shift  int;
BEGIN
    IF octet_length(data) < 6 OR get_byte(data, 0) <> 0 THEN
        RETURN jsonb_build_object('error', 'not Protobuf in Confluent wire format');
    END IF;
    id := (get_byte(data, 1)::bigint << 24) | (get_byte(data, 2) << 16) | (get_byte(data, 3) << 8) | get_byte(data, 4);

    WHILE count <> 0 LOOP -- the message indexes: their number, then each, zigzag
        v := 0;
        shift := 0;
        LOOP
            IF pos >= octet_length(data) OR shift > 28 THEN
                RETURN jsonb_build_object('error', 'malformed message indexes', 'schema_id', id);
            END IF;
            b := get_byte(data, pos);
            pos := pos + 1;
            v := v | ((b & 127)::bigint << shift);
            EXIT WHEN b < 128;
            shift := shift + 7;
        END LOOP;
        v := (v >> 1) # -(v & 1);
        IF count < 0 THEN
            count := v;
            IF count NOT BETWEEN 0 AND 32 THEN
                RETURN jsonb_build_object('error', 'malformed message indexes', 'schema_id', id);
            END IF;
        ELSE
            path := path || CASE path WHEN '' THEN '' ELSE '.' END || v;
            count := count - 1;
        END IF;
    END LOOP;
    IF path = '' THEN
        path := '0'; -- the short form
    END IF;

    -- The same schema may be stored for many subjects; any of them will do.
    SELECT s.types
    INTO types
    FROM gapless.schema_version AS s
    WHERE s.schema_id = id
    ORDER BY s.registered_at DESC
    LIMIT 1;
    IF NOT FOUND THEN
        RETURN jsonb_build_object('error', 'the schema is not stored here: run gapless schema register', 'schema_id', id);
    END IF;
    type := types -> 'index' ->> path;
    IF type IS NULL THEN
        RETURN jsonb_build_object('error', 'the schema has no message at index ' || path, 'schema_id', id);
    END IF;
    RETURN gapless.decode_message(data, pos, octet_length(data), type, types -> 'messages', types -> 'enums', 0);
EXCEPTION WHEN OTHERS THEN
    RETURN jsonb_strip_nulls(jsonb_build_object('error', SQLERRM, 'schema_id', id, 'type', type));
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION gapless.decode(bytea) IS 'Protobuf in Confluent wire format as JSON (proto3 mapping), by the stored descriptors. Never raises: what cannot be read is {"error": …}.';

-- A JSON text as jsonb; what jsonb cannot hold as {"raw": …}.
-- +goose StatementBegin
CREATE FUNCTION gapless.payload_json(payload bytea, content_type text) RETURNS jsonb
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    media text := lower(trim(split_part(coalesce(content_type, ''), ';', 1)));
BEGIN
    IF payload IS NULL THEN
        RETURN NULL;
    END IF;
    IF media = 'application/protobuf' THEN
        RETURN gapless.decode(payload);
    END IF;
    BEGIN
        IF media = 'application/json' OR media LIKE '%+json' OR (media = '' AND get_byte(payload, 0) IN (91, 123)) THEN
            RETURN convert_from(payload, 'UTF8')::jsonb;
        END IF;
    EXCEPTION WHEN OTHERS THEN
        NULL; -- said to be JSON and is not: shown as it is
    END;
    BEGIN
        RETURN jsonb_build_object('raw', convert_from(payload, 'UTF8'));
    EXCEPTION WHEN OTHERS THEN
        RETURN jsonb_build_object('raw_base64', translate(encode(payload, 'base64'), E'\n', ''));
    END;
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION gapless.payload_json(bytea, text) IS 'A payload of any content-type as jsonb: JSON as it is, Protobuf through gapless.decode(), other text as {"raw": …}, other bytes as {"raw_base64": …}. Never raises.';

CREATE VIEW gapless.outbox_readable AS
SELECT id, aggregatetype, aggregateid, aggregate_version, type,
       gapless.payload_json(payload, headers ->> 'content-type') AS payload,
       headers, created_at, xid
FROM gapless.outbox;

COMMENT ON VIEW gapless.outbox_readable IS 'The outbox with its payload as jsonb, whatever its encoding; NULL is a tombstone.';

-- +goose StatementBegin
CREATE FUNCTION gapless.relays_outbox(fingerprint text) RETURNS boolean
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT coalesce(fingerprint, '') = '' OR EXISTS (
        SELECT FROM pg_publication AS p
        JOIN pg_publication_tables AS t ON t.pubname = p.pubname
        WHERE t.schemaname = 'gapless' AND t.tablename = 'outbox'
          AND EXISTS (SELECT FROM unnest(string_to_array(fingerprint, ',')) AS part WHERE split_part(part, '.', 1) = 'p' || p.oid)
    )
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION gapless.relays_outbox(text) IS 'Whether a relay whose record has this publication_fingerprint relays gapless.outbox; true where nothing is known of it.';

-- One row a slot of this database or of stored progress. Both lags matter: an
-- open transaction pins restart_lsn while confirmed_flush_lsn moves.
CREATE VIEW gapless.relay_lag AS
SELECT coalesce(s.slot_name::text, p.slot) AS slot,
       coalesce(s.active, false) AS active,
       s.active_pid,
       coalesce(s.wal_status, 'missing') AS wal_status,
       s.restart_lsn,
       s.confirmed_flush_lsn,
       (w.lsn - s.restart_lsn)::bigint AS retained_bytes,
       (w.lsn - s.confirmed_flush_lsn)::bigint AS unconfirmed_bytes,
       s.safe_wal_size,
       p.resume_lsn,
       (w.lsn - p.resume_lsn)::bigint AS unrelayed_bytes,
       p.timeline,
       p.events,
       p.relay_id,
       p.last_commit_at,
       p.updated_at,
       r.yes AS relays_outbox,
       -- The oldest event written since the last commit that was relayed, or what the
       -- relay tells: of tables of one's own it alone knows.
       coalesce(greatest(extract(epoch FROM clock_timestamp() - least(o.created_at, CASE WHEN s.active THEN t.oldest_at END)), 0), 0)::float8 AS lag_seconds
FROM (SELECT * FROM pg_replication_slots WHERE database = current_database() AND plugin = 'pgoutput') AS s
FULL JOIN gapless.relay_progress AS p ON p.slot = s.slot_name
CROSS JOIN (SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END AS lsn) AS w
LEFT JOIN gapless.relay_status AS t ON t.slot = p.slot
CROSS JOIN LATERAL (SELECT gapless.relays_outbox(p.publication_fingerprint) AS yes) AS r
LEFT JOIN LATERAL (
    SELECT o.created_at
    FROM gapless.outbox AS o
    WHERE r.yes
      AND o.created_at > coalesce(p.last_commit_at, '-infinity')
      AND o.id >= coalesce(gapless.uuid7_floor(p.last_commit_at), '00000000-0000-0000-0000-000000000000')
    ORDER BY o.id
    LIMIT 1
) AS o ON true;

COMMENT ON VIEW gapless.relay_lag IS 'Slot, progress and lag of each relay, in bytes and in seconds; wal_status missing: progress without a slot.';

SELECT gapless.grant_if_role('SELECT', 'TABLE gapless.outbox_readable, gapless.relay_lag', r)
FROM unnest(ARRAY['gapless_owner', 'gapless_app', 'gapless_relay', 'gapless_consumer', 'gapless_readonly']) AS r;

-- +goose Down

DROP VIEW gapless.relay_lag;
DROP FUNCTION gapless.relays_outbox(text);
DROP VIEW gapless.outbox_readable;
DROP FUNCTION gapless.payload_json(bytea, text);
DROP FUNCTION gapless.decode(bytea);
DROP FUNCTION gapless.decode_message(bytea, int, int, text, jsonb, jsonb, int);
DROP FUNCTION gapless.decode_group_end(bytea, int, int, bigint, int);
DROP FUNCTION gapless.decode_well_known(text, jsonb, jsonb, jsonb, int);
DROP FUNCTION gapless.decode_scalar(text, bigint, jsonb);
