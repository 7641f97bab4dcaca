-- Where things are, for what is granted by their full names: the database, the contacts table, what `crm-sync check` asks yoyo for,
-- and the schemas of the types that statements and triggers cast to. And whether the role to be granted to exists.
--
-- $1  text  the role
SELECT
    current_database() AS database,
    n.nspname AS namespace,
    (SELECT mn.nspname FROM pg_namespace AS mn WHERE mn.oid = m.relnamespace) AS migrations,
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
FROM pg_class AS c
JOIN pg_namespace AS n ON c.relnamespace = n.oid
LEFT JOIN pg_class AS m ON m.oid = to_regclass('_crm_sync_migration')
WHERE c.oid = to_regclass('contacts')
