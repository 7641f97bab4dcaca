-- Drops those of the oldest lines of one CRM that stand for no contact: the contact was withdrawn or deleted, has another key or
-- another due time by now, as after a flip that ended a wait, or the statement that lined it up failed. No due time is
-- given twice, so a line that no row has now stays so. Returns how many were looked at, and how many were dropped.
--
-- By their locators, which are taken in their order: so two workers at this never wait for each other in turn.
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
