-- The CRMs whose triggers are on a table, in the order of installation, according to the triggers themselves: for a database
-- whose tables were restored without rows.
SELECT
    format('%I.%I', n.nspname, c.relname) AS contacts,
    lane.crm,
    (
        SELECT a.attname::text
        FROM unnest(t.tgattr::smallint[]) AS k (attnum)
        JOIN pg_attribute AS a ON t.tgrelid = a.attrelid AND k.attnum = a.attnum
        WHERE a.attname::text <> ALL (
            ARRAY[lane.crm || '_sync_status', lane.crm || '_processing_status', lane.crm || '_processing_error']
        )
        LIMIT 1
    ) AS remote_id_column,
    to_regprocedure(format('crm_sync.%s_watch()', lane.crm)) IS NOT NULL AS is_watched,
    (
        SELECT CASE WHEN strpos(d.prosrc, '''erase''') > 0 THEN 'erase' ELSE 'delete' END
        FROM pg_proc AS d
        WHERE d.oid = to_regprocedure(format('crm_sync.%I()', lane.crm || '_deleted'))
    ) AS on_delete
FROM pg_trigger AS t
JOIN pg_proc AS p ON t.tgfoid = p.oid
JOIN pg_class AS c ON t.tgrelid = c.oid
JOIN pg_namespace AS n ON c.relnamespace = n.oid
CROSS JOIN LATERAL (SELECT left(p.proname::text, -length('_flip')) AS crm) AS lane
WHERE
    p.pronamespace = (SELECT s.oid FROM pg_namespace AS s WHERE s.nspname = 'crm_sync')
    AND t.tgname = format('crm_sync_%s_update', lane.crm)
    AND t.tgparentid = 0
-- The number of the lane, which its function uses for the bell.
ORDER BY (regexp_match(p.prosrc, format('\(%s, (\d+)\)', :bell_lock)))[1]::integer, lane.crm
