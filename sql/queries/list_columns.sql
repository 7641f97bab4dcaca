-- Columns of the contacts table with their types, and whether they are its primary key.
SELECT
    a.attname AS name,
    format('%I.%I', n.nspname, t.typname) AS type,
    coalesce(a.attnum = ANY (i.indkey), FALSE) AS is_key
FROM pg_attribute AS a
JOIN pg_type AS t ON a.atttypid = t.oid
JOIN pg_namespace AS n ON t.typnamespace = n.oid
LEFT JOIN pg_index AS i ON a.attrelid = i.indrelid AND i.indisprimary
WHERE
    a.attrelid = to_regclass('contacts')
    AND a.attnum > 0
    AND NOT a.attisdropped
