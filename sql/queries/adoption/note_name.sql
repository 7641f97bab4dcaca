-- The name that the adopted table has now: anyone who adopts it again means it, whatever else has its former one.
UPDATE crm_sync.adopted AS a
SET
    schema_name = n.nspname,
    table_name = c.relname
FROM pg_class AS c
JOIN pg_namespace AS n ON c.relnamespace = n.oid
WHERE
    a.contacts = c.oid
    AND (a.schema_name, a.table_name) IS DISTINCT FROM (n.nspname, c.relname)
