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
    -- Functions name the types of the status columns, with their schema. Without them they see no flip.
    NOT EXISTS (
        SELECT
        FROM pg_proc AS f
        -- To the end of the line, but for its last character.
        CROSS JOIN regexp_matches(f.prosrc, '_status := ''Queued''::(.+).$', 'gn') AS t (found)
        WHERE
            f.pronamespace = 'crm_sync'::regnamespace
            AND f.proname = crm || '_flip'
            -- CASE, because a plan may look at all functions first, and one of them has a template with no type in it.
            AND CASE WHEN f.proname = crm || '_flip' THEN to_regtype(t.found[1]) IS NULL END
    ) AS knows_types,
    crm_sync.other_retries(crm, 'c') AS other_retries
FROM crm_sync.lanes
WHERE installed
ORDER BY id
