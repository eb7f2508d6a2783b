-- Why schema gapless may not be migrated by the current role; null where it may, or is not
-- there. Whoever may create in it, or has done so, may put a function of his own where a
-- migration calls or grants one, and it would run as the role that migrates. Superusers are
-- trusted, the role itself, and the schema's owner by a role that is a member and no superuser.
SELECT CASE
    WHEN NOT (o.rolsuper OR o.oid = me.oid OR NOT me.rolsuper AND pg_has_role(me.oid, o.oid, 'USAGE'))
        THEN format('schema gapless belongs to role %I: migrate as that role, or, if nothing in it is somebody else''s, ALTER SCHEMA gapless OWNER TO %I', o.rolname, me.rolname)
    ELSE (
        SELECT format('role %s may create in schema gapless: migrate as that role, or REVOKE CREATE ON SCHEMA gapless FROM %1$s', coalesce(quote_ident(r.rolname), 'PUBLIC'))
        FROM aclexplode(s.nspacl) AS a
        LEFT JOIN pg_roles AS r ON r.oid = a.grantee
        WHERE a.privilege_type = 'CREATE' AND a.grantee NOT IN (o.oid, me.oid) AND r.rolsuper IS NOT TRUE
        UNION ALL
        SELECT format('%s belongs to role %I: migrate as that role, or drop it', x.what, r.rolname)
        FROM (
            SELECT format('function %s', p.oid::regprocedure) AS what, p.proowner AS owner FROM pg_proc AS p WHERE p.pronamespace = s.oid
            UNION ALL
            SELECT format('table %s', c.oid::regclass), c.relowner FROM pg_class AS c WHERE c.relnamespace = s.oid AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
            UNION ALL
            SELECT format('type %s', t.oid::regtype), t.typowner FROM pg_type AS t WHERE t.typnamespace = s.oid AND t.typtype IN ('d', 'e', 'r')
        ) AS x
        JOIN pg_roles AS r ON r.oid = x.owner
        WHERE NOT r.rolsuper AND r.oid NOT IN (o.oid, me.oid)
        LIMIT 1
    )
END AS why
FROM pg_namespace AS s
JOIN pg_roles AS o ON o.oid = s.nspowner
JOIN pg_roles AS me ON me.rolname = current_user
WHERE s.nspname = 'gapless'
