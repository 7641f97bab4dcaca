-- The keeper of a lane answers for its bell. Held for the session's life, so that it is free the moment the keeper dies.
--
-- $1  integer  id of the lane
SELECT pg_try_advisory_lock(1668443498, $1::integer)
