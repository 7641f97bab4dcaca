-- The registered workers, and whether each still holds the lock that says it lives.
SELECT
    w.id,
    w.host,
    w.pid,
    w.version,
    w.started_at,
    EXISTS (
        SELECT
        FROM pg_locks AS l
        WHERE
            l.locktype = 'advisory'
            AND l.database = (SELECT d.oid FROM pg_database AS d WHERE d.datname = current_database())
            AND l.classid = 1668443499
            AND l.objid = w.id::oid
            AND l.granted
    ) AS alive
FROM crm_sync.workers AS w
ORDER BY w.id
