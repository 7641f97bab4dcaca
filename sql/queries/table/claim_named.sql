-- Claims contacts that a person named, out of turn, whether they are due or not, for the command's own worker. What is to be sent
-- is read afterwards, because a failing mapping would undo the claim.
--
-- $1  id[]    the contacts
-- $2  bigint  the claim's fencing token
WITH
-- As in claim_contacts.sql.
table_lock AS (
    UPDATE :contacts
    SET :claimed_by = :claimed_by
    WHERE FALSE
),

-- As in claim_contacts.sql: no worker calls a CRM that is paused or down, and a claim without a worker would create orphans that
-- no worker looks for.
open_lane AS MATERIALIZED (
    SELECT
    FROM crm_sync.lanes AS l
    WHERE
        l.crm = :'crm'
        AND l.held_since IS NULL
        AND l.breaker = 'closed'
        AND EXISTS (SELECT FROM crm_sync.workers AS w WHERE w.id = $2::bigint >> 32)
        -- For the table's own triggers.
        AND (SELECT set_config('search_path', :'own_path', TRUE)) IS NOT NULL
        AND (SELECT set_config('crm_sync.writes', :'crm', TRUE)) IS NOT NULL
),

free AS MATERIALIZED (
    SELECT :id AS id
    FROM :contacts
    WHERE
        :id :is ANY ($1:::sent_keys)
        AND EXISTS (SELECT FROM open_lane)
        AND :claimed_by IS NULL
        AND :sync_status = 'Queued'
        AND :due_at IS NOT NULL
    FOR NO KEY UPDATE SKIP LOCKED
),

claimed AS (
    UPDATE :contacts AS c
    SET
        :sync_status = 'Processing',
        :processing_status = 'Processing',
        :attempts = c.:attempts + 1,
        :claimed_by = $2::bigint
    FROM free AS f
    WHERE c.:id :is f.id
    RETURNING
        c.:id AS id,
        c.:attempts AS attempts,
        c.:remote_id::text AS remote_id,
        -- As in claim_contacts.sql. The due time of a contact that is not due can be such a time, too.
        CASE
            WHEN c.:flipped_at BETWEEN '1970-01-01' AND '9000-01-01' THEN c.:flipped_at
            WHEN c.:due_at BETWEEN '1970-01-01' AND '9000-01-01' THEN c.:due_at
            ELSE clock_timestamp()
        END AS flipped_at,
        -- It was put back in line since.
        coalesce(c.:due_at > c.:flipped_at, FALSE) AS is_late,
        :trace AS trace,
        -- As in claim_contacts.sql.
        coalesce(c.:claimed_by = $2::bigint AND c.:sync_status = 'Processing', FALSE) AS is_held
)

-- is_held is NULL if a trigger of the table has kept the row from being written.
SELECT
    f.id:as_read AS id,
    c.attempts,
    c.remote_id,
    c.flipped_at,
    c.is_late,
    c.trace,
    c.is_held
FROM free AS f
LEFT JOIN claimed AS c ON f.id :is c.id
