-- Columns of these CRMs that refuse values which a worker may write: too short or too narrow, of a domain with constraints, or with a
-- CHECK constraint on the id in the CRM. Workers write no id of more than 20 characters for the CRMs that crm-sync brings along.
--
-- $1  text[]  the CRMs
-- $2  text[]  the column with the id in each
WITH written AS (
    SELECT
        c.crm,
        a.attnum,
        a.attname::text AS name,
        format_type(a.atttypid, a.atttypmod) AS type,
        a.atttypmod - 4 AS length,
        t.oid AS type_oid,
        t.typname,
        t.typtype,
        a.attrelid,
        a.attname = c.remote_id AS is_id
    FROM unnest($1::text[], $2::text[]) AS c (crm, remote_id)
    CROSS JOIN crm_sync.adopted AS d
    JOIN pg_attribute AS a ON d.contacts = a.attrelid AND a.attnum > 0 AND NOT a.attisdropped
    JOIN pg_type AS t ON a.atttypid = t.oid
    WHERE
        a.attname = c.remote_id
        OR a.attname IN (
            c.crm || '_processing_error', c.crm || '_sync_status', c.crm || '_processing_status', 'last_failed_crm'
        )
)

SELECT DISTINCT
    w.attnum,
    w.name,
    w.type,
    k.kind,
    k.constraint_name
FROM written AS w
CROSS JOIN LATERAL (
    SELECT
        'short id' AS kind,
        NULL::text AS constraint_name
    WHERE w.is_id AND w.typname IN ('varchar', 'bpchar') AND w.length BETWEEN 1 AND 19
    UNION ALL
    SELECT
        'small number',
        NULL
    -- The ids of HubSpot are longer.
    WHERE w.is_id AND (w.typname = 'int2' OR (w.typname = 'int4' AND w.crm = 'hubspot'))
    UNION ALL
    SELECT
        'short name',
        NULL
    WHERE w.name = 'last_failed_crm' AND w.typname IN ('varchar', 'bpchar') AND w.length BETWEEN 1 AND length(w.crm) - 1
    UNION ALL
    SELECT
        'short reason',
        NULL
    -- A reason is cut to the length of its column.
    WHERE w.name = w.crm || '_processing_error' AND w.typname IN ('varchar', 'bpchar') AND w.length BETWEEN 1 AND 99
    UNION ALL
    SELECT
        'constraint',
        quote_ident(d.conname)
    FROM pg_constraint AS d
    WHERE w.typtype = 'd' AND d.contypid = w.type_oid AND d.contype = 'c'
    UNION ALL
    SELECT
        'constraint',
        quote_ident(d.conname)
    FROM pg_constraint AS d
    WHERE w.is_id AND d.conrelid = w.attrelid AND d.contype = 'c' AND d.conkey @> ARRAY[w.attnum]
) AS k
ORDER BY
    w.attnum,
    k.kind,
    k.constraint_name
