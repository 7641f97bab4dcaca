-- Registers a worker with this session, before its first claim; again after a reconnect, which is another session, and whenever
-- its row is gone. Returns the session.
--
-- $1  integer  id of the worker
-- $2  text     host
-- $3  integer  process id
-- $4  text     version of crm-sync
INSERT INTO crm_sync.workers (id, host, pid, version, backend_pid, backend_start)
SELECT
    $1::integer,
    $2::text,
    $3::integer,
    $4::text,
    s.pid,
    s.backend_start
FROM pg_stat_get_activity(pg_backend_pid()) AS s
ON CONFLICT (id) DO UPDATE
SET
    backend_pid = excluded.backend_pid,
    backend_start = excluded.backend_start
RETURNING
    backend_pid,
    backend_start
