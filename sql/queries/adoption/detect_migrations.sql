-- Whether yoyo has noted anything down here.
SELECT to_regclass('crm_sync._crm_sync_migration') IS NOT NULL AS is_there
