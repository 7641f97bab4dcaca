-- Whether the adopted table's name is noted down in this version of the schema.
SELECT
    EXISTS (
        SELECT
        FROM pg_attribute AS a
        WHERE a.attrelid = to_regclass('crm_sync.adopted') AND a.attname = 'table_name' AND NOT a.attisdropped
    ) AS is_there
