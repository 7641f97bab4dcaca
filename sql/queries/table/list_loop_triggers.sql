-- The application's own triggers that seem to flip whatever is written, the writes of workers too: they fire for any column, or for one
-- that workers write; they name a status; and neither they nor their functions ask what has changed, or who writes.
--
-- $1  text[]  the columns that workers write
SELECT DISTINCT quote_ident(t.tgname) AS name
FROM crm_sync.adopted AS a
JOIN pg_trigger AS t ON t.tgrelid = a.contacts OR t.tgrelid IN (SELECT p.relid FROM pg_partition_tree(a.contacts) AS p)
JOIN pg_proc AS f ON t.tgfoid = f.oid
WHERE
    t.tgenabled IN ('O', 'A')
    AND NOT t.tgisinternal
    AND t.tgname NOT LIKE 'crm\_sync\_%'
    -- UPDATE (16).
    AND t.tgtype & 16 = 16
    AND (
        coalesce(array_length(t.tgattr::smallint[], 1), 0) = 0
        OR EXISTS (
            SELECT
            FROM pg_attribute AS c
            WHERE c.attrelid = t.tgrelid AND c.attnum = ANY (t.tgattr::smallint[]) AND c.attname = ANY ($1::text[])
        )
    )
    AND coalesce(pg_get_function_sqlbody(f.oid), f.prosrc) LIKE '%\_sync\_status%'
    AND concat_ws(' ', pg_get_triggerdef(t.oid), f.prosrc) !~* '\m(old|tg_op|current_user|session_user|current_role)\M'
ORDER BY name
