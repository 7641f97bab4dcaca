-- Contacts of one CRM that dead workers had in flight. A contact in flight still has a line. Those of unknown workers are found
-- by the full look (inspect_stretch.sql), which needs no line.
--
-- $1  integer[]  ids of the dead workers
SELECT
    c.id:as_read AS id,
    c.claimed_by,
    c.attempts
FROM :line AS l
CROSS JOIN LATERAL (
    SELECT
        :id AS id,
        :claimed_by AS claimed_by,
        :attempts AS attempts
    FROM :contacts
    WHERE
        :id :is l.key
        AND :due_at = l.due_at
        AND :claimed_by IS NOT NULL
    LIMIT 1
) AS c
WHERE (c.claimed_by >> 32)::integer = ANY ($1::integer[])
