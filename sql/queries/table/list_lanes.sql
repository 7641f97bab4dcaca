-- The CRMs that are installed on the contacts table, each with the expression for the roll-up of its finish.
SELECT
    id,
    crm,
    remote_id_column,
    on_delete,
    EXISTS (
        SELECT
        FROM pg_attribute AS k
        WHERE
            k.attrelid = to_regclass(format('crm_sync.%I', crm || '_line'))
            AND k.attname = 'key'
    ) AS has_line,
    crm_sync.other_retries(crm, 'c') AS other_retries
FROM crm_sync.lanes
WHERE installed
ORDER BY id
