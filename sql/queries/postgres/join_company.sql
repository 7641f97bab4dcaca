-- Takes the lock of a worker that is not alone, and returns whether another worker is alone, which may have requests in flight
-- without locked addresses. If refused although none is, a session that is not a worker holds the lock, which has no effect.
SELECT
    j.is_joined,
    NOT j.is_joined
    AND EXISTS (
        SELECT
        FROM pg_locks AS l
        WHERE
            l.locktype = 'advisory'
            AND l.database = (SELECT d.oid FROM pg_database AS d WHERE d.datname = current_database())
            AND l.classid = :address_seed
            AND l.objid = 0
            AND l.objsubid = 2
            AND l.mode = 'ExclusiveLock'
            AND l.granted
            AND l.pid IN (SELECT w.pid FROM crm_sync.living_workers AS w)
    ) AS is_to_wait
FROM (SELECT pg_try_advisory_lock_shared(:address_seed, 0) AS is_joined OFFSET 0) AS j
