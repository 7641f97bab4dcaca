-- Arms the bell: from now on every flip rings. Refused while a flip is uncommitted whose trigger saw that we are awake.
--
-- $1  integer  id of the lane
SELECT pg_try_advisory_lock(:bell_lock, $1::integer)
