-- Releases an id that a worker was about to take.
--
-- $1  integer  the id
SELECT pg_advisory_unlock(:worker_lock, $1::integer)
