-- Whether this worker is the one of those that live that looks after what all of them have: the one with the lowest id.
--
-- $1  integer  the worker
SELECT coalesce(min(w.id) = $1::integer, FALSE) AS is_first
FROM crm_sync.living_workers AS w
