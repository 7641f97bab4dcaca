-- The CRMs to be installed on the contacts table, including those whose adoption was interrupted.
SELECT crm
FROM crm_sync.lanes
ORDER BY id
