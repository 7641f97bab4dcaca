-- Terminates our former session, if the network dropped and the server has not noticed. Returns a row for each session that holds
-- the lock of our id: none if it is free by now. Sessions that are not ours are left alone.
--
-- $1  integer      id of the worker
-- $2  integer      process id of our former session's backend
-- $3  timestamptz  when that backend began
SELECT
    o.is_ours,
    CASE WHEN o.is_ours THEN pg_terminate_backend(l.pid) END AS is_ended
FROM pg_locks AS l
CROSS JOIN LATERAL (
    SELECT bool_or(s.pid = $2::integer AND s.backend_start = $3::timestamptz) IS TRUE AS is_ours
    FROM pg_stat_get_activity(l.pid) AS s
) AS o
WHERE
    l.locktype = 'advisory'
    AND l.database = (SELECT d.oid FROM pg_database AS d WHERE d.datname = current_database())
    AND l.classid = :worker_lock
    AND l.objid = $1::integer::oid
    AND l.objsubid = 2
    AND l.granted
    AND l.pid <> pg_backend_pid()
