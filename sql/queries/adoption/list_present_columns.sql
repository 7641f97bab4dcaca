-- Columns of these CRMs that the contacts table already has, their contents, and what is wrong with them, if anything.
--
-- States are text, or any enum that includes the values that workers write. NOT NULL: a worker sets all columns except those
-- three to NULL.
--
-- $1  text[]  the CRMs
SELECT
    w.crm,
    w.name,
    format_type(a.atttypid, a.atttypmod) AS type,
    w.expected AS expected,
    e.labels,
    CASE
        WHEN EXISTS (
            SELECT
            FROM pg_partition_tree(a.attrelid) AS p
            JOIN pg_partitioned_table AS k ON p.relid = k.partrelid
            WHERE a.attname IN (
                SELECT ka.attname
                FROM pg_attribute AS ka
                WHERE ka.attrelid = k.partrelid AND ka.attnum = ANY (k.partattrs)
            )
        ) THEN 'decides on the partition, so that each delivery would move its row'
        WHEN a.attgenerated <> '' OR a.attidentity <> '' THEN 'is computed by Postgres'
        WHEN w.expected = 'states' AND e.labels IS NOT NULL AND NOT e.labels @> '{Queued,Processing,Complete,Error}'
            THEN 'lacks a value of Queued, Processing, Complete and Error: ALTER TYPE ... ADD VALUE'
        WHEN w.expected = 'states' AND e.labels IS NULL AND t.typcategory <> 'S' THEN 'holds neither text nor an enum'
        WHEN w.expected = 'states' AND t.typname IN ('varchar', 'bpchar') AND a.atttypmod BETWEEN 0 AND 13
            THEN 'is too short for Processing'
        WHEN w.expected = 'text' AND t.typcategory <> 'S' THEN 'holds no text'
        WHEN w.expected = 'id' AND t.typcategory NOT IN ('S', 'N') THEN 'holds neither text nor a number'
        WHEN w.expected = 'integer' AND t.typname NOT IN ('int4', 'int8') THEN 'is no integer'
        WHEN w.expected = 'bigint' AND t.typname <> 'int8' THEN 'is no bigint'
        WHEN w.expected = 'timestamptz' AND t.typname <> 'timestamptz' THEN 'is no timestamptz'
        WHEN a.attnotnull AND w.may_be_null THEN 'is NOT NULL, and has to take NULL: ALTER COLUMN ... DROP NOT NULL'
    END AS problem
FROM (
    SELECT
        c.crm,
        c.crm || s.suffix AS name,
        s.expected,
        s.may_be_null
    FROM unnest($1::text[]) AS c (crm)
    CROSS JOIN (
        VALUES
        ('_sync_status', 'states', FALSE),
        ('_processing_status', 'states', TRUE),
        ('_processing_error', 'text', TRUE),
        ('_attempts', 'integer', FALSE),
        ('_due_at', 'timestamptz', TRUE),
        ('_claimed_by', 'bigint', TRUE),
        ('_synced_at', 'timestamptz', TRUE),
        ('_flipped_at', 'timestamptz', TRUE)
    ) AS s (suffix, expected, may_be_null)
    UNION ALL
    SELECT
        c.crm,
        crm_sync.remote_id_column(c.crm),
        'id',
        TRUE
    FROM unnest($1::text[]) AS c (crm)
    UNION ALL
    VALUES
    (NULL, 'retry_count', 'integer', FALSE),
    (NULL, 'last_retry_at', 'timestamptz', TRUE),
    (NULL, 'next_retry_at', 'timestamptz', TRUE),
    (NULL, 'last_failed_crm', 'text', TRUE)
) AS w (crm, name, expected, may_be_null)
JOIN pg_attribute AS a
    ON w.name = a.attname AND a.attrelid = crm_sync.contacts() AND a.attnum > 0 AND NOT a.attisdropped
JOIN pg_type AS t ON a.atttypid = t.oid
LEFT JOIN LATERAL (
    SELECT array_agg(l.enumlabel::text ORDER BY l.enumsortorder) AS labels
    FROM pg_enum AS l
    WHERE l.enumtypid = t.oid
) AS e ON TRUE
ORDER BY a.attnum
