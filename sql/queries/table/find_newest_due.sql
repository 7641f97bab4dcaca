-- Where the backlog of one CRM ends, so that contacts flipped after it can be distinguished. Always one row.
--
-- It reads backwards from the newest, and not far, because it runs while a hundred thousand are waiting.
--
-- $1  id[]         not these: the table refused to have them claimed
-- $2  timestamptz  only those due after this; NULL: all
-- $3  integer      count at most one more than this
WITH
newest AS (
    SELECT l.due_at
    FROM :line AS l
    CROSS JOIN LATERAL (
        SELECT
        FROM :contacts
        WHERE
            :id :is l.key
            AND :due_at = l.due_at
            AND :claimed_by IS NULL
            AND :sync_status = 'Queued'
            AND :id :is_not ALL ($1:::sent_keys)
        LIMIT 1
    ) AS c
    WHERE
        -- Drivers can read no time before that.
        l.due_at > coalesce($2::timestamptz, '0001-01-01 00:00:00+00'::timestamptz)
        AND l.due_at <= statement_timestamp()
    ORDER BY l.due_at DESC
    LIMIT $3::integer + 1
),

-- Each with the time since the previous flip.
flip AS (
    SELECT
        n.due_at,
        n.due_at - lead(n.due_at) OVER (ORDER BY n.due_at DESC) AS gap
    FROM newest AS n
)

SELECT
    statement_timestamp() AS looked_at,
    count(*)::integer AS waiting,
    max(f.due_at) AS newest,
    -- A bulk statement flips one row every ten to a hundred microseconds; between two statements there is a commit.
    max(f.due_at) FILTER (WHERE f.gap < interval '0.25 ms') AS bulk_end,
    (
        SELECT l.due_at
        FROM :line AS l
        CROSS JOIN LATERAL (
            SELECT
            FROM :contacts
            WHERE
                :id :is l.key
                AND :due_at = l.due_at
                AND :claimed_by IS NULL
                AND :sync_status = 'Queued'
                AND :id :is_not ALL ($1:::sent_keys)
            LIMIT 1
        ) AS c
        WHERE
            l.due_at > $2::timestamptz
            AND l.due_at <= statement_timestamp()
        ORDER BY l.due_at
        LIMIT 1
    ) AS first
FROM flip AS f
