-- What keeps every worker from using the contacts table now: a copy that a tool has put in its place, a rule on its UPDATEs, or a
-- key type that cannot be a parameter. Most of these appear after the adoption.
SELECT
    'copy' AS kind,
    format('%I.%I', n.nspname, c.relname) AS name
FROM crm_sync.adopted AS a
-- This way, because an older version did not record the name.
JOIN pg_class AS c ON c.relname = to_jsonb(a) ->> 'table_name'
JOIN pg_namespace AS n ON c.relnamespace = n.oid AND n.nspname = to_jsonb(a) ->> 'schema_name'
WHERE
    c.oid <> a.contacts
    AND c.relkind IN ('r', 'p')
    -- Another table may legitimately have its name if it was renamed: that one has none of our columns.
    AND EXISTS (
        SELECT
        FROM pg_attribute AS k
        JOIN crm_sync.lanes AS l ON k.attname = l.crm || '_claimed_by'
        WHERE k.attrelid = c.oid AND NOT k.attisdropped
    )
UNION ALL
SELECT
    'rule',
    quote_ident(r.rulename)
FROM crm_sync.adopted AS a
JOIN pg_rewrite AS r ON a.contacts = r.ev_class
WHERE
    r.ev_type = '2'  -- UPDATE
    AND r.ev_enabled IN ('O', 'A')
UNION ALL
SELECT
    'key',
    format_type(k.atttypid, k.atttypmod)
FROM crm_sync.adopted AS a
JOIN pg_attribute AS k ON a.contacts = k.attrelid AND a.key_column = k.attname
JOIN pg_type AS t ON k.atttypid = t.oid
LEFT JOIN pg_type AS b ON t.typbasetype = b.oid
-- Arrays, composite types and multiranges, and domains over them.
WHERE t.typcategory IN ('A', 'C') OR 'm' IN (t.typtype, b.typtype)
