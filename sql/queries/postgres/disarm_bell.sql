-- Disarms the bell: we are awake, and flips cost no notification.
--
-- $1  integer  id of the lane
SELECT pg_advisory_unlock(1668443497, $1::integer)
