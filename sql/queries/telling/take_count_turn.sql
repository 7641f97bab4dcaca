-- Whether this worker counts: the one that holds the lock, as long as its session is open.
--
-- Any role that may connect can take any advisory lock. So the lock counts only if a living worker holds it: if a stranger does,
-- the living worker with the lowest id counts.
--
-- $1  integer  id of this worker
-- $2  integer  what is counted: 0 all contacts, 1 the metrics that all workers share
WITH holders AS MATERIALIZED (
    SELECT l.pid
    FROM pg_locks AS l
    WHERE
        l.locktype = 'advisory'
        AND l.database = (SELECT d.oid FROM pg_database AS d WHERE d.datname = current_database())
        AND l.classid = :count_lock
        AND l.objid = $2::integer::oid
        AND l.objsubid = 2
        AND l.mode = 'ExclusiveLock'
        AND l.granted
)

SELECT
    CASE
        WHEN EXISTS (SELECT FROM holders AS h WHERE h.pid = pg_backend_pid()) THEN TRUE
        WHEN EXISTS (SELECT FROM holders AS h WHERE h.pid IN (SELECT w.pid FROM crm_sync.living_workers AS w)) THEN FALSE
        WHEN pg_try_advisory_lock(:count_lock, $2::integer) THEN TRUE
        ELSE $1::integer = (SELECT min(w.id) FROM crm_sync.living_workers AS w)
    END AS is_ours
