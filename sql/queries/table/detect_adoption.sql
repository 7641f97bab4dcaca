-- Whether the table that records the adoption exists: in an older version, or when an adoption has just begun, it does not.
SELECT to_regclass('crm_sync.adopted') IS NOT NULL AS is_there
