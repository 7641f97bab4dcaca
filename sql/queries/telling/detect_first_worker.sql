-- Whether this worker is responsible for what all workers share: the living one with the lowest id.
--
-- $1  integer  the worker
SELECT coalesce(min(w.id) = $1::integer, FALSE) AS is_first
FROM crm_sync.living_workers AS w
