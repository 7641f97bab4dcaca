-- This worker delivers to the CRM, or ends: its fault is removed, and so is that of a worker that has ended.
--
-- $1  text     crm
-- $2  integer  id of the worker
UPDATE crm_sync.lanes
SET
    fault = NULL,
    fault_since = NULL,
    fault_worker = NULL
WHERE
    crm = $1::text
    AND fault IS NOT NULL
    AND (
        fault_worker = $2::integer
        OR NOT EXISTS (SELECT FROM crm_sync.living_workers AS w WHERE w.id = fault_worker)
    )
