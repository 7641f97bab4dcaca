-- Deleted contacts that a CRM has not been told about; after the undo they never will be.
SELECT count(*) AS tombstones
FROM crm_sync.tombstones
