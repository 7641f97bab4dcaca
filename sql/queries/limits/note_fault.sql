-- Records what keeps a worker from delivering to a CRM. If several workers have a fault, only the first one's is recorded, as
-- long as that worker is alive and has it.
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
