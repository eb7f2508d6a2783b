-- Group roles (NOLOGIN). Logins are made by the operator and granted one of
-- them; REPLICATION is an attribute and is not inherited, so the relay's login
-- needs it itself. Roles belong to the cluster, not to the database: another
-- database may have made them already, and Down leaves them alone.

-- +goose Up

-- +goose StatementBegin
DO $$
DECLARE
    r text;
BEGIN
    IF current_setting('gapless.no_roles', true) = 'on' THEN
        RETURN;
    END IF;
    FOREACH r IN ARRAY ARRAY['gapless_owner', 'gapless_app', 'gapless_relay', 'gapless_consumer', 'gapless_readonly'] LOOP
        BEGIN
            EXECUTE format('CREATE ROLE %I NOLOGIN', r);
        EXCEPTION WHEN duplicate_object OR unique_violation THEN
            NULL; -- made by another database of this cluster, perhaps this very moment
        END;
    END LOOP;
END
$$;
-- +goose StatementEnd

-- Grants to a group role that may be missing (--no-roles): one call a grant.
-- +goose StatementBegin
CREATE FUNCTION gapless.grant_if_role(privileges text, object text, role name) RETURNS void
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = role) THEN
        EXECUTE format('GRANT %s ON %s TO %I', privileges, object, role);
    END IF;
END
$$;
-- +goose StatementEnd

REVOKE EXECUTE ON FUNCTION gapless.grant_if_role(text, text, name) FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION gapless.partition_attach(regclass, text, text, text) FROM PUBLIC;

SELECT gapless.grant_if_role('USAGE', 'SCHEMA gapless', r)
FROM unnest(ARRAY['gapless_owner', 'gapless_app', 'gapless_relay', 'gapless_consumer', 'gapless_readonly']) AS r;
SELECT gapless.grant_if_role('SELECT', 'TABLE gapless.schema_version, gapless.audit', r)
FROM unnest(ARRAY['gapless_app', 'gapless_relay', 'gapless_consumer', 'gapless_readonly']) AS r;
-- Who and when are not for the writer to say.
SELECT gapless.grant_if_role('INSERT (action, target, reason, detail)', 'TABLE gapless.audit', r)
FROM unnest(ARRAY['gapless_app', 'gapless_relay', 'gapless_consumer']) AS r;

-- +goose Down

DROP FUNCTION gapless.grant_if_role(text, text, name);
