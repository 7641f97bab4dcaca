-- Arms the bell: from now on every flip rings. Refused while a flip is uncommitted, for its application was told that we are awake.
--
-- $1  integer  id of the lane
SELECT pg_try_advisory_lock(1668443497, $1::integer)
