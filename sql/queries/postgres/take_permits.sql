-- Takes permits for requests at a time: the numbers of those taken. All workers together have so many of a lane, and hold them by
-- their sessions: a worker that dies frees its own.
--
-- $1  integer    id of the lane
-- $2  integer    permits of the lane, 999 at most
-- $3  integer[]  those that this worker holds already
-- $4  integer    take so many at most
SELECT number
FROM generate_series(1, $2::integer) AS number
WHERE
    number <> ALL ($3::integer[])
    -- Looked at one by one until there are enough: none is taken beyond those returned.
    AND pg_try_advisory_lock(1668443501, $1::integer * 1000 + number)
LIMIT $4::integer
