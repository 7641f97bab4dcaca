-- The tables that may be an application's contacts, the most likely first: with a column whose name suggests an address.
SELECT
    c.oid AS relation,
    format('%I.%I', n.nspname, c.relname) AS name,
    GREATEST(c.reltuples, 0)::bigint AS rows
FROM pg_class AS c
JOIN pg_namespace AS n ON c.relnamespace = n.oid
WHERE
    c.relkind IN ('r', 'p')
    AND NOT c.relispartition
    AND c.relpersistence = 'p'
    AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'crm_sync')
    AND has_schema_privilege(c.relnamespace, 'USAGE')
    AND EXISTS (
        SELECT
        FROM pg_attribute AS a
        JOIN pg_type AS t ON a.atttypid = t.oid
        WHERE
            a.attrelid = c.oid
            AND a.attnum > 0
            AND NOT a.attisdropped
            AND t.typcategory = 'S'
            AND a.attname ILIKE '%mail%'
    )
ORDER BY
    array_position(ARRAY['contacts', 'contact', 'people', 'customers', 'subscribers', 'leads', 'members', 'users'], c.relname::text),
    c.reltuples DESC,
    name
LIMIT 20
