-- The CRMs that are to be on the contacts table, also those whose adoption was interrupted.
SELECT crm
FROM crm_sync.lanes
ORDER BY id
