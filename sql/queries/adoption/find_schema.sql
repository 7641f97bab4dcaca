-- No row where there is nothing of crm-sync in this database.
SELECT oid
FROM pg_namespace
WHERE nspname = 'crm_sync'
