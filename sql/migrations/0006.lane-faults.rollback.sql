ALTER TABLE crm_sync.lanes
    DROP COLUMN fault,
    DROP COLUMN fault_since,
    DROP COLUMN fault_worker;

CREATE OR REPLACE FUNCTION crm_sync.other_retries(crm_name text, contact text)
RETURNS text
LANGUAGE sql
STABLE
AS $$
    SELECT coalesce(
        'LEAST(' || string_agg(
            format(
                'CASE WHEN %1$s.%2$I IS NOT NULL THEN %1$s.%3$I END',
                contact, crm || '_processing_error', crm || '_due_at'
            ),
            ', ' ORDER BY id
        ) || ')',
        'NULL::timestamptz'
    )
    FROM crm_sync.lanes
    WHERE installed AND crm <> crm_name
$$;
