-- Columns of the contacts table with their types, by name and as they were declared.
SELECT
    a.attname AS name,
    format('%I.%I', n.nspname, t.typname) AS type,
    format_type(a.atttypid, a.atttypmod) AS declared
FROM crm_sync.adopted AS d
JOIN pg_attribute AS a ON d.contacts = a.attrelid
JOIN pg_type AS t ON a.atttypid = t.oid
JOIN pg_namespace AS n ON t.typnamespace = n.oid
WHERE
    a.attnum > 0
    AND NOT a.attisdropped
ORDER BY a.attnum
