-- CHECK constraints over one column of the contacts table alone, each as an expression over it.
SELECT
    c.conname::text AS name,
    a.attname::text AS column,
    format_type(a.atttypid, a.atttypmod) AS type,
    pg_get_expr(c.conbin, c.conrelid) AS expression
FROM pg_constraint AS c
JOIN pg_attribute AS a ON c.conrelid = a.attrelid AND c.conkey = ARRAY[a.attnum]
WHERE
    c.conrelid = crm_sync.contacts()
    AND c.contype = 'c'
ORDER BY c.conname
