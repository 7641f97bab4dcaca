-- This worker cannot count, so another one may.
--
-- $1  integer  what, as in take_count_turn.sql
SELECT pg_advisory_unlock(:count_lock, $1::integer)
