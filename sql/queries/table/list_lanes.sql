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
    -- As in crm_sync.line_type. A renamed column is reported by its name.
    NOT EXISTS (
        SELECT
        FROM crm_sync.adopted AS d
        JOIN pg_attribute AS c ON d.contacts = c.attrelid AND d.key_column = c.attname
        JOIN pg_attribute AS k ON k.attrelid = to_regclass(format('crm_sync.%I', crm || '_line')) AND k.attname = 'key'
        WHERE
            k.atttypid <> CASE
                WHEN c.atttypid IN ('int2'::regtype, 'int4'::regtype) THEN 'int8'::regtype
                WHEN c.atttypid = 'varchar'::regtype THEN 'text'::regtype
                ELSE c.atttypid
            END
    ) AS takes_keys,
    crm_sync.other_retries(crm, 'c') AS other_retries
FROM crm_sync.lanes
WHERE installed
ORDER BY id
