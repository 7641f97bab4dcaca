-- Whether this worker counts: the one that has the lock, for as long as its session lives.
--
-- Anyone who may connect can take any advisory lock. So it counts only with a worker that lives: where a stranger has it, the
-- living worker with the lowest id counts.
--
-- $1  integer  id of this worker
-- $2  integer  what is counted: 0 all contacts, 1 what metrics tell of all workers
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
