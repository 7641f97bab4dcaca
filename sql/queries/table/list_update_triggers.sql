-- The application's own triggers that run for each row before an UPDATE, or are called for it: only they can keep a row from being
-- written, or change what is written.
SELECT DISTINCT quote_ident(t.tgname) AS name
FROM crm_sync.adopted AS a
JOIN pg_trigger AS t ON t.tgrelid = a.contacts OR t.tgrelid IN (SELECT p.relid FROM pg_partition_tree(a.contacts) AS p)
WHERE
    t.tgenabled IN ('O', 'A')
    AND NOT t.tgisinternal
    AND t.tgname NOT LIKE 'crm\_sync\_%'
    -- For each row (1), before (2), UPDATE (16).
    AND t.tgtype & 19 = 19
ORDER BY name
