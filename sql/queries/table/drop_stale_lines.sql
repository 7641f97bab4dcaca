-- Deletes lines that represent no contact from the oldest lines of one CRM: the contact was withdrawn or deleted, has another key
-- or another due time by now, as after a flip that ended a wait, or the statement that put it in line failed. No due time is
-- given twice, so a line without a row never gets one again. Returns how many were examined, and how many were deleted.
--
-- By locator, in order, so that two workers that do this at the same time never deadlock.
--
-- $1  integer  look at this many
WITH
oldest AS MATERIALIZED (
    SELECT
        l.ctid AS locator,
        l.due_at,
        l.key
    FROM :line AS l
    ORDER BY l.due_at
    LIMIT $1::integer
),

dropped AS (
    DELETE FROM :line
    WHERE
        ctid = ANY (
            ARRAY(
                SELECT o.locator
                FROM oldest AS o
                LEFT JOIN LATERAL (
                    SELECT TRUE AS is_there
                    FROM :contacts
                    WHERE
                        :id :is o.key
                        AND :due_at = o.due_at
                    LIMIT 1
                ) AS c ON TRUE
                WHERE c.is_there IS NULL
            )
        )
    RETURNING 1
)

SELECT
    (SELECT count(*) FROM oldest) AS looked_at,
    (SELECT count(*) FROM dropped) AS dropped
