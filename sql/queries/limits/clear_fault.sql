-- This worker delivers to the CRM, or ends: its fault is over, and so is that of a worker that has ended.
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
        OR NOT EXISTS (
            SELECT
            FROM pg_locks AS l
            WHERE
                l.locktype = 'advisory'
                AND l.database = (SELECT d.oid FROM pg_database AS d WHERE d.datname = current_database())
                AND l.classid = :worker_lock
                AND l.objid = fault_worker::oid
                AND l.granted
        )
    )
