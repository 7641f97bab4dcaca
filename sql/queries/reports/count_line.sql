-- Who is in line at one CRM, or in flight: by its lines, up to a limit of those that are due, and of those that are not. What a
-- line stands for says its row. Beyond, each number is the least that it can be.
--
-- In a backlog, fresh contacts in flight are among the newest that are due: some of those are looked at, too.
--
-- lost: of those in flight, the ones that no living worker has.
--
-- $1  integer  lines of each
-- $2  integer  of the newest
WITH
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
        c.claimed_by IS NULL AND c.is_queued AS is_in_line
    FROM line AS l
    CROSS JOIN LATERAL (
        SELECT
            :claimed_by AS claimed_by,
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
    extract(EPOCH FROM statement_timestamp() - min(due_at) FILTER (WHERE part = 'oldest' AND is_in_line))::float8 AS oldest_ready_s,
    (SELECT count(*) >= $1::integer FROM oldest) AS ready_is_least,
    (SELECT count(*) >= $1::integer FROM later) AS waiting_is_least
FROM contact
