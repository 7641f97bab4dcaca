-- Gives permits back, for other workers to take.
--
-- $1  integer    id of the lane
-- $2  integer[]  their numbers
SELECT pg_advisory_unlock(1668443501, $1::integer * 1000 + number)
FROM unnest($2::integer[]) AS number
