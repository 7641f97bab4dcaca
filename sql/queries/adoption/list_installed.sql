-- The CRMs that are installed on the contacts table, each with the column of its id there.
SELECT
    crm,
    remote_id_column
FROM crm_sync.lanes
WHERE installed
ORDER BY id
