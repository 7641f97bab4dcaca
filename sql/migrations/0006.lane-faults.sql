-- What keeps a worker from delivering to one CRM until a person helps: a missing right or column, a wrong mapping or setting.

ALTER TABLE crm_sync.lanes
    ADD COLUMN fault text,               -- in words; NULL where there is none
    ADD COLUMN fault_since timestamptz,
    ADD COLUMN fault_worker integer;     -- the worker that has it. Others may deliver all the same; once it has ended, it counts no more

-- The earliest next attempt of a contact at the CRMs other than this one, as an SQL expression over the given row. What is wrong with
-- one of them, a column that is gone or may not be read, is no matter for this one.
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
    WHERE
        installed
        AND crm <> crm_name
        AND 2 = (
            SELECT count(*)
            FROM crm_sync.adopted AS t
            JOIN pg_attribute AS a ON t.contacts = a.attrelid
            WHERE
                a.attname IN (crm || '_processing_error', crm || '_due_at')
                AND NOT a.attisdropped
                AND has_column_privilege(a.attrelid, a.attnum, 'SELECT')
        )
$$;
