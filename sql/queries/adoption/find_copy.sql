-- The table that a tool has put in place of the adopted one: it has its former name and our columns, as in list_obstacles.sql.
-- Also the CRMs that watch columns.
SELECT
    c.oid AS relation,
    format('%I.%I', n.nspname, c.relname) AS name,
    ARRAY(
        SELECT l.crm
        FROM crm_sync.lanes AS l
        WHERE to_regprocedure(format('crm_sync.%I()', l.crm || '_watch')) IS NOT NULL
        ORDER BY l.id
    ) AS watched
FROM crm_sync.adopted AS a
JOIN pg_class AS c ON a.table_name = c.relname
JOIN pg_namespace AS n ON c.relnamespace = n.oid AND a.schema_name = n.nspname
WHERE
    c.oid <> a.contacts
    AND c.relkind IN ('r', 'p')
    AND EXISTS (
        SELECT
        FROM pg_attribute AS k
        JOIN crm_sync.lanes AS l ON k.attname = l.crm || '_claimed_by'
        WHERE k.attrelid = c.oid AND NOT k.attisdropped
    )
