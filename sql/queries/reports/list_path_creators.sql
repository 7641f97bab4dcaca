-- The roles that may create objects in a schema, and so have their SQL run by every role with that schema on the search_path.
-- Roles that can do so anyway are left out: superusers, roles that can become this one, and the owner of the contacts table,
-- whose triggers run with the rights of the writer.
--
-- $1  text[]  schemas; NULL: those on the search_path of this connection, except Postgres's own
SELECT
    w.name,
    n.oid IS NOT NULL AS is_there,
    coalesce(has_schema_privilege(n.oid, 'USAGE'), FALSE) AS may_use,
    EXISTS (
        SELECT FROM aclexplode(n.nspacl) AS g WHERE g.grantee = 0 AND g.privilege_type = 'CREATE'
    ) AS everybody,
    ARRAY(
        SELECT quote_ident(r.rolname)
        FROM pg_roles AS r
        WHERE
            has_schema_privilege(r.oid, n.oid, 'CREATE')
            AND NOT r.rolsuper
            AND left(r.rolname::text, 3) <> 'pg_'
            AND NOT pg_has_role(r.oid, current_user, 'MEMBER')
            AND NOT coalesce(pg_has_role(r.oid, c.relowner, 'MEMBER'), FALSE)
        ORDER BY r.rolname
    ) AS creators,
    quote_ident(current_user) AS role
FROM unnest(
    coalesce(
        $1::text[],
        ARRAY(SELECT s.name::text FROM unnest(current_schemas(FALSE)) AS s (name) WHERE left(s.name::text, 3) <> 'pg_')
    )
) WITH ORDINALITY AS w (name, number)
LEFT JOIN pg_namespace AS n ON n.nspname = w.name
LEFT JOIN crm_sync.adopted AS a ON TRUE
LEFT JOIN pg_class AS c ON a.contacts = c.oid
ORDER BY w.number
