-- Takes the lock that says "this worker lives". Refused: a session of ours that the server has not missed yet still has it.
--
-- $1  integer  id of the worker
SELECT pg_try_advisory_lock(1668443499, $1::integer)
