-- Takes the lock that shows that this worker is alive, and returns whether a worker with this id is registered.
--
-- $1  integer  id of the worker
SELECT
    pg_try_advisory_lock(:worker_lock, $1::integer) AS is_ours,
    EXISTS (SELECT FROM crm_sync.workers AS w WHERE w.id = $1::integer) AS is_registered
