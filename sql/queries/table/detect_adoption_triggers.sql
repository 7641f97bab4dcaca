-- Whether a table has crm-sync's triggers. If none is recorded as adopted, the records were restored without their rows.
SELECT
    EXISTS (
        SELECT FROM pg_trigger AS t
        JOIN pg_proc AS p ON t.tgfoid = p.oid
        JOIN pg_namespace AS n ON p.pronamespace = n.oid
        WHERE n.nspname = 'crm_sync' AND t.tgname ~ '^crm_sync_.*_update$' AND NOT t.tgisinternal
    ) AS is_there
