-- Ends our former session, where the network dropped and the server has not noticed. Found by the lock only a session of this
-- worker holds, so it can be no other's.
--
-- $1  integer  id of the worker
SELECT pg_terminate_backend(pid)
FROM pg_locks
WHERE
    locktype = 'advisory'
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND classid = 1668443499
    AND objid = $1::integer::oid
    AND pid <> pg_backend_pid()
