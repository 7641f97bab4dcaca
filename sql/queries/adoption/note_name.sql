-- Records the current name of the adopted table: a later adoption of this name means this table, whatever else has its former
-- name.
UPDATE crm_sync.adopted AS a
SET
    schema_name = n.nspname,
    table_name = c.relname
FROM pg_class AS c
JOIN pg_namespace AS n ON c.relnamespace = n.oid
WHERE
    a.contacts = c.oid
    AND (a.schema_name, a.table_name) IS DISTINCT FROM (n.nspname, c.relname)
