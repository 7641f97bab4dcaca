-- Other tables with columns of crm-sync: a tool that changes a table by swapping it for a copy leaves one, and the copy has no
-- triggers. is_heir: or it inherits from the contacts table. A table with heirs is not adopted, but may get one later.
SELECT
    format('%I.%I', n.nspname, c.relname) AS name,
    EXISTS (SELECT FROM pg_inherits AS h WHERE h.inhrelid = c.oid AND h.inhparent = d.contacts) AS is_heir
FROM pg_class AS c
JOIN pg_namespace AS n ON c.relnamespace = n.oid
CROSS JOIN crm_sync.adopted AS d
WHERE
    c.relkind IN ('r', 'p')
    AND NOT c.relispartition
    AND c.oid <> d.contacts
    AND EXISTS (
        SELECT
        FROM pg_attribute AS a
        JOIN crm_sync.lanes AS l ON a.attname = l.crm || '_claimed_by'
        WHERE a.attrelid = c.oid AND NOT a.attisdropped
    )
ORDER BY 1
LIMIT 3
