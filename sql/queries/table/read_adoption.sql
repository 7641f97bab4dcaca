-- The adopted table, with its name as SQL writes it. No row if none is adopted; the name is NULL if the table was dropped.
SELECT
    (
        SELECT format('%I.%I', n.nspname, c.relname)
        FROM pg_class AS c
        JOIN pg_namespace AS n ON c.relnamespace = n.oid
        WHERE c.oid = a.contacts
    ) AS name,
    a.contacts::oid AS relation,
    EXISTS (SELECT FROM pg_partitioned_table AS p WHERE p.partrelid = a.contacts) AS is_partitioned,
    a.key_column::text AS key_column,
    a.email_column::text AS email_column,
    a.created
FROM crm_sync.adopted AS a
