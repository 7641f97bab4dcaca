-- What a view reads, as recorded by Postgres: columns, whole tables (no column), and functions other than Postgres's own.
--
-- $1  text  the view
SELECT DISTINCT
    n.nspname AS namespace,
    c.relname AS relation,
    a.attname AS attribute,
    p.oid::regprocedure::text AS function
FROM pg_rewrite AS r
JOIN pg_depend AS d
    ON r.oid = d.objid AND d.classid = 'pg_rewrite'::regclass AND d.refobjid <> r.ev_class
LEFT JOIN pg_class AS c ON d.refobjid = c.oid AND d.refclassid = 'pg_class'::regclass
LEFT JOIN pg_attribute AS a ON c.oid = a.attrelid AND d.refobjsubid = a.attnum AND a.attnum > 0
LEFT JOIN pg_proc AS p ON d.refobjid = p.oid AND d.refclassid = 'pg_proc'::regclass
JOIN pg_namespace AS n ON coalesce(c.relnamespace, p.pronamespace) = n.oid
WHERE r.ev_class = to_regclass($1::text)
ORDER BY 1, 2, 3, 4
