-- The keeper of a lane answers for its bell: it is the worker named in the lane's row, as long as that worker is alive. Returns
-- whether this worker is the keeper. Does not wait for a locked row, because the next look is soon.
--
-- $1  integer  id of the lane
-- $2  integer  id of the worker
WITH
free AS MATERIALIZED (
    SELECT l.id
    FROM crm_sync.lanes AS l
    WHERE
        l.id = $1::integer
        AND l.keeper IS DISTINCT FROM $2::integer
        AND NOT EXISTS (SELECT FROM crm_sync.living_workers AS w WHERE w.id = l.keeper)
    FOR NO KEY UPDATE SKIP LOCKED
),

taken AS (
    UPDATE crm_sync.lanes
    SET keeper = $2::integer
    WHERE id IN (SELECT f.id FROM free AS f)
    RETURNING id
)

SELECT
    EXISTS (SELECT FROM taken)
    OR EXISTS (SELECT FROM crm_sync.lanes AS l WHERE l.id = $1::integer AND l.keeper = $2::integer) AS is_keeper
