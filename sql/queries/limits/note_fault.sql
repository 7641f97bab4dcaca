-- Notes what keeps a worker from delivering to a CRM. Of several workers with a fault one is noted: the first, for as long as it
-- lives and has it.
--
-- $1  text     crm
-- $2  text     the fault
-- $3  integer  id of the worker
UPDATE crm_sync.lanes
SET
    fault = $2::text,
    fault_since = clock_timestamp(),
    fault_worker = $3::integer
WHERE
    crm = $1::text
    AND (fault, fault_worker) IS DISTINCT FROM ($2::text, $3::integer)
    AND (
        fault IS NULL
        OR fault_worker = $3::integer
        OR NOT EXISTS (SELECT FROM crm_sync.living_workers AS w WHERE w.id = fault_worker)
    )
