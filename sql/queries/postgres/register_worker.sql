-- Enters a worker into the registry, before its first claim. Again after a reconnect, for a failover may have lost it.
--
-- $1  integer  id of the worker
-- $2  text     host
-- $3  integer  process id
-- $4  text     version of crm-sync
INSERT INTO crm_sync.workers (id, host, pid, version)
VALUES ($1::integer, $2::text, $3::integer, $4::text)
ON CONFLICT (id) DO NOTHING
