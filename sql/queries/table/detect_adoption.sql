-- Whether the table that says what is adopted is there: neither an older version nor an adoption that has just begun has it.
SELECT to_regclass('crm_sync.adopted') IS NOT NULL AS is_there
