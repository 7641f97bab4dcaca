-- Columns of the contacts table with their types, by name and as declared, and the schema of their index operators, which for an
-- extension's type is the extension's own. may_read: whether this role may read the column.
SELECT
    a.attname AS name,
    format('%I.%I', n.nspname, t.typname) AS type,
    format_type(a.atttypid, a.atttypmod) AS declared,
    has_column_privilege(a.attrelid, a.attnum, 'SELECT') AS may_read,
    coalesce(
        (
            SELECT quote_ident(os.nspname)
            FROM pg_opclass AS c
            JOIN pg_am AS m ON c.opcmethod = m.oid
            JOIN pg_amop AS e
                ON c.opcfamily = e.amopfamily AND c.opcintype = e.amoplefttype AND c.opcintype = e.amoprighttype AND e.amopstrategy = 3
            JOIN pg_operator AS o ON e.amopopr = o.oid
            JOIN pg_namespace AS os ON o.oprnamespace = os.oid
            WHERE
                m.amname = 'btree'
                AND c.opcdefault
                AND c.opcintype = coalesce(nullif(t.typbasetype, 0), t.oid)
        ),
        'pg_catalog'
    ) AS operators
FROM crm_sync.adopted AS d
JOIN pg_attribute AS a ON d.contacts = a.attrelid
JOIN pg_type AS t ON a.atttypid = t.oid
JOIN pg_namespace AS n ON t.typnamespace = n.oid
WHERE
    a.attnum > 0
    AND NOT a.attisdropped
ORDER BY a.attnum
