-- Whether yoyo has recorded anything here.
SELECT to_regclass('crm_sync._crm_sync_migration') IS NOT NULL AS is_there
