-- Takes permits for concurrent requests, and returns their numbers. All workers together have a fixed number for a lane, and
-- those of a dead worker are free.
--
-- $1  integer    id of the lane
-- $2  integer    permits of the lane
-- $3  integer[]  those that this worker holds already
-- $4  integer    take at most this many
-- $5  integer    id of the worker
WITH
others AS MATERIALIZED (
    SELECT w.id
    FROM crm_sync.living_workers AS w
    WHERE w.id <> $5::integer
),

-- In the same order for all workers, so that they never wait for each other in a circle.
free AS (
    SELECT n.number
    FROM generate_series(1, $2::integer) AS n (number)
    WHERE
        n.number <> ALL ($3::integer[])
        AND n.number NOT IN (
            SELECT p.number
            FROM crm_sync.permits AS p
            WHERE
                p.lane = $1::integer
                AND p.worker IN (SELECT o.id FROM others AS o)
        )
    ORDER BY n.number
    LIMIT $4::integer
)

INSERT INTO crm_sync.permits AS p (lane, number, worker)
SELECT
    $1::integer,
    f.number,
    $5::integer
FROM free AS f
ON CONFLICT (lane, number) DO UPDATE
SET worker = excluded.worker
-- Another worker may have been a moment faster.
WHERE p.worker NOT IN (SELECT w.id FROM crm_sync.living_workers AS w WHERE w.id <> excluded.worker)
RETURNING p.number
