-- Whether this version of the schema records the adopted table's name.
SELECT
    EXISTS (
        SELECT
        FROM pg_attribute AS a
        WHERE a.attrelid = to_regclass('crm_sync.adopted') AND a.attname = 'table_name' AND NOT a.attisdropped
    ) AS is_there
