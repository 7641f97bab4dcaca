-- This worker is no longer the keeper of a lane: another one may be.
--
-- $1  integer  id of the lane
SELECT pg_advisory_unlock(:keeper_lock, $1::integer)
