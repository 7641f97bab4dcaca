-- The names of applied migrations.
SELECT migration_id
FROM crm_sync._crm_sync_migration
ORDER BY migration_id
