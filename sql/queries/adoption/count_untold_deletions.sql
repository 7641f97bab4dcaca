-- Deleted contacts that a CRM does not know of yet: once all is undone, none will.
SELECT count(*) AS tombstones
FROM crm_sync.tombstones
