-- The migrations that are applied, by their names.
SELECT migration_id
FROM crm_sync._crm_sync_migration
ORDER BY migration_id
