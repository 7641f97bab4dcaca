-- This worker is no longer the keeper of a lane, so that another one may become it. Does not wait for a locked row.
--
-- $1  integer  id of the lane
-- $2  integer  id of the worker
WITH ours AS MATERIALIZED (
    SELECT l.id
    FROM crm_sync.lanes AS l
    WHERE
        l.id = $1::integer
        AND l.keeper = $2::integer
    FOR NO KEY UPDATE SKIP LOCKED
)

UPDATE crm_sync.lanes
SET keeper = NULL
WHERE id IN (SELECT o.id FROM ours AS o)
