-- The full names needed for GRANTs: the database, the contacts table, and the schemas of the types that statements and triggers
-- cast to. Also whether the grantee exists.
--
-- $1  text  the role
SELECT
    current_database() AS database,
    n.nspname AS namespace,
    c.relname AS relation,
    ARRAY(
        SELECT DISTINCT tn.nspname
        FROM pg_attribute AS a
        JOIN pg_type AS t ON a.atttypid = t.oid
        JOIN pg_namespace AS tn ON t.typnamespace = tn.oid
        WHERE
            a.attrelid = c.oid
            AND a.attnum > 0
            AND NOT a.attisdropped
            AND tn.nspname <> 'pg_catalog'
    ) AS type_namespaces,
    c.relrowsecurity AS has_row_security,
    EXISTS (SELECT FROM pg_roles AS r WHERE r.rolname = $1::text) AS role_exists
FROM crm_sync.adopted AS d
JOIN pg_class AS c ON d.contacts = c.oid
JOIN pg_namespace AS n ON c.relnamespace = n.oid
