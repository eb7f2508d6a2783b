-- Who streams, or could. @slot. Roles are the cluster's, and everybody may look at
-- them. On Amazon RDS membership in rds_replication is in the place of the attribute.
WITH r AS (
    SELECT oid, rolname::text AS name, rolcanlogin, rolsuper,
           rolsuper OR rolreplication OR EXISTS (
               SELECT FROM pg_auth_members AS m JOIN pg_roles AS g ON g.oid = m.roleid
               WHERE m.member = p.oid AND g.rolname = 'rds_replication') AS replicates
    FROM pg_roles AS p
), relay AS (
    SELECT r.name, r.replicates
    FROM r JOIN pg_roles AS g ON g.rolname = 'gapless_relay'
    WHERE r.rolcanlogin AND NOT r.rolsuper AND pg_has_role(r.oid, g.oid, 'MEMBER')
)
SELECT me.name AS login, me.rolsuper AS super, me.replicates,
       EXISTS (SELECT FROM relay WHERE relay.name = me.name) AS member,
       -- The login that has the slot now.
       coalesce((SELECT a.usename::text FROM pg_replication_slots AS s JOIN pg_stat_activity AS a ON a.pid = s.active_pid
                 WHERE s.slot_name = @slot), '') AS holder,
       coalesce((SELECT array_agg(relay.name ORDER BY relay.name) FROM relay WHERE relay.replicates), '{}')::text[] AS able,
       coalesce((SELECT array_agg(relay.name ORDER BY relay.name) FROM relay WHERE NOT relay.replicates), '{}')::text[] AS unable
FROM r AS me
WHERE me.name = session_user
