-- The contacts of one CRM in line or in flight, by its lines: up to a limit of those that are due, and of those that are not. The
-- row says what a line represents. Beyond the limit, each number is a lower bound.
--
-- During a backlog, fresh contacts in flight are among the newest lines that are due, so some of those are examined too.
--
-- lost: contacts in flight that no living worker has.
--
-- oldest_ready_s: how long the oldest has waited, since its flip, or after a failure, since its retry was due. The due time alone
-- does not show this, because it is postponed whenever a contact is put back unsent, as by each probe of a CRM that is down.
-- While the CRM's breaker is not closed, a contact in flight is a probe and counts as waiting, and a retry that was put back
-- counts from then on.
--
-- $1  integer  lines of each
-- $2  integer  of the newest
WITH
lane AS MATERIALIZED (
    SELECT CASE WHEN n.breaker <> 'closed' THEN n.breaker_since END AS shut_since
    FROM crm_sync.lanes AS n
    WHERE n.crm = :'crm'
),

oldest AS (
    SELECT
        l.due_at,
        l.key
    FROM :line AS l
    WHERE l.due_at <= statement_timestamp()
    ORDER BY l.due_at
    LIMIT $1::integer
),

newest AS (
    SELECT
        l.due_at,
        l.key
    FROM :line AS l
    WHERE
        l.due_at <= statement_timestamp()
        AND l.due_at > (SELECT max(o.due_at) FROM oldest AS o)
    ORDER BY l.due_at DESC
    LIMIT $2::integer
),

later AS (
    SELECT
        l.due_at,
        l.key
    FROM :line AS l
    WHERE l.due_at > statement_timestamp()
    ORDER BY l.due_at
    LIMIT $1::integer
),

line AS (
    SELECT 'oldest' AS part, o.* FROM oldest AS o
    UNION ALL
    SELECT 'newest' AS part, n.* FROM newest AS n
    UNION ALL
    SELECT 'later' AS part, w.* FROM later AS w
),

-- Lateral, so that each row is looked up by its key.
contact AS (
    SELECT
        l.part,
        l.due_at,
        c.claimed_by,
        c.claimed_by IS NULL AND c.is_queued AS is_in_line,
        l.part <> 'later' AND (
            (c.claimed_by IS NULL AND c.is_queued)
            OR (c.claimed_by IS NOT NULL AND EXISTS (SELECT FROM lane AS n WHERE n.shut_since IS NOT NULL))
        ) AS is_kept_waiting,
        -- LEAST and GREATEST ignore NULL.
        CASE
            -- It was delivered since its flip, and is sent once more: see keep_flip_times.sql.
            WHEN c.error IS NULL AND c.flipped_at <= c.synced_at AND c.synced_at < l.due_at THEN l.due_at
            WHEN c.error IS NULL THEN LEAST(l.due_at, c.flipped_at)
            ELSE LEAST(l.due_at, (SELECT GREATEST(n.shut_since, c.flipped_at) FROM lane AS n WHERE n.shut_since IS NOT NULL))
        END AS waits_since
    FROM line AS l
    CROSS JOIN LATERAL (
        SELECT
            :claimed_by AS claimed_by,
            :flipped_at AS flipped_at,
            :synced_at AS synced_at,
            :processing_error AS error,
            :sync_status = 'Queued' AS is_queued
        FROM :contacts
        WHERE
            :id :is l.key
            AND :due_at = l.due_at
        LIMIT 1
    ) AS c
)

SELECT
    count(*) FILTER (WHERE part = 'oldest' AND is_in_line) AS ready,
    count(*) FILTER (WHERE part = 'later' AND is_in_line) AS waiting,
    count(claimed_by) AS in_flight,
    count(*) FILTER (
        WHERE
            claimed_by IS NOT NULL
            AND (claimed_by >> 32)::integer NOT IN (SELECT w.id FROM crm_sync.living_workers AS w)
    ) AS lost,
    -- A time that was written by hand may be infinite.
    extract(
        EPOCH FROM statement_timestamp() - min(GREATEST(waits_since, '1970-01-01')) FILTER (WHERE is_kept_waiting)
    )::float8 AS oldest_ready_s,
    (SELECT count(*) >= $1::integer FROM oldest) AS ready_is_least,
    (SELECT count(*) >= $1::integer FROM later) AS waiting_is_least
FROM contact
