-- The living workers, as any version of crm-sync identifies them: by their locks.
SELECT
    w.host,
    w.pid
FROM crm_sync.workers AS w
WHERE
    EXISTS (
        SELECT
        FROM pg_locks AS l
        WHERE
            l.locktype = 'advisory'
            AND l.database = (SELECT d.oid FROM pg_database AS d WHERE d.datname = current_database())
            AND l.classid = :worker_lock
            AND l.objid = w.id::oid
            AND l.granted
    )
ORDER BY w.id
