-- Claims ready contacts of one CRM and returns what is to be sent: some fresh ones, if any are wanted, and else the oldest.
--
-- The line says where to look, the row whether it is so. A line is left as it is: it stands for its row in flight, too, until a
-- finish takes it away. Lateral, so that no plan but a lookup of each row by its key can come of it.
--
-- The weaker row lock, because the strong one skips a contact that merely has an open foreign-key insert pointing at it. By their
-- locator, which is the ctid: the rows are locked by this very statement, and no plan but a TID scan can come of it. In a
-- partitioned table a ctid is one row's of each partition, so there the key stands for it.
--
-- $1  integer      at most this many
-- $2  bigint       the claim's fencing token
-- $3  timestamptz  start here in the order of service: what lies before was claimed, and its dead entries cost time
-- $4  id[]         not these: the table refused to have them claimed
-- $5  integer      at most this many of them fresh
-- $6  timestamptz  fresh is what is due since; NULL: nothing is
-- $7  boolean      this claim is the probe
WITH
-- No worker calls a CRM that is paused by hand; while its breaker is not closed, only the probe does. That is everybody's: what
-- one worker gave back, no other sends. And a claim that arrives when its worker is dead and forgotten would make orphans that
-- no worker looks for.
open_lane AS MATERIALIZED (
    SELECT
    FROM crm_sync.lanes AS l
    WHERE
        l.crm = :'crm'
        AND l.held_since IS NULL
        AND (l.breaker = 'closed' OR $7::boolean)
        AND EXISTS (SELECT FROM crm_sync.workers AS w WHERE w.id = $2::bigint >> 32)
        -- This statement has been read by our search_path. Triggers of the table's own, and functions that the mapping calls, are run
        -- by the role's, as for any application.
        AND (SELECT set_config('search_path', :'own_path', TRUE)) IS NOT NULL
),

-- In order of service among themselves. Where none are wanted the limit is zero, and nothing is looked at.
fresh AS MATERIALIZED (
    SELECT c.locator
    FROM :line AS l
    CROSS JOIN LATERAL (
        SELECT :locator AS locator
        FROM :contacts
        WHERE
            :id :is l.key
            AND :due_at = l.due_at
            AND :claimed_by IS NULL
            AND :sync_status = 'Queued'
            AND :id :is_not ALL ($4:::id_type[])
        FOR NO KEY UPDATE SKIP LOCKED
    ) AS c
    WHERE
        l.due_at > $6::timestamptz
        AND l.due_at <= statement_timestamp()
        AND EXISTS (SELECT FROM open_lane)
    ORDER BY l.due_at
    LIMIT $5::integer
),

-- What room they leave. A row that this transaction has locked is not skipped as locked, so it is left out by name.
oldest AS MATERIALIZED (
    SELECT c.locator
    FROM :line AS l
    CROSS JOIN LATERAL (
        SELECT :locator AS locator
        FROM :contacts
        WHERE
            :id :is l.key
            AND :due_at = l.due_at
            AND :claimed_by IS NULL
            AND :sync_status = 'Queued'
            AND :id :is_not ALL ($4:::id_type[])
            AND :locator :locator_is_not ALL (ARRAY(SELECT f.locator FROM fresh AS f))
        FOR NO KEY UPDATE SKIP LOCKED
    ) AS c
    WHERE
        l.due_at >= $3::timestamptz
        AND l.due_at <= statement_timestamp()
        AND EXISTS (SELECT FROM open_lane)
    ORDER BY l.due_at
    LIMIT $1::integer - (SELECT count(*) FROM fresh)
)

UPDATE :contacts
SET
    :sync_status = 'Processing',
    :processing_status = 'Processing',
    :attempts = :attempts + 1,
    :claimed_by = $2::bigint
WHERE :locator :locator_is ANY (ARRAY(SELECT f.locator FROM fresh AS f UNION ALL SELECT o.locator FROM oldest AS o))
RETURNING
    :id,
    :due_at,
    :attempts,
    :remote_id::text AS remote_id,
    -- A flip that no trigger saw has none.
    coalesce(:flipped_at, :due_at) AS flipped_at,
    :mapped,
    :trace AS trace
