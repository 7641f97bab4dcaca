-- This worker cannot count: another one may.
SELECT pg_advisory_unlock(:count_lock, 0)
