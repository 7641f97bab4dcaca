-- The CRMs that are to be on the contacts table, also those whose adoption was broken off.
SELECT crm
FROM crm_sync.lanes
ORDER BY id
