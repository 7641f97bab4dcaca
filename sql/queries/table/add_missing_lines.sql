-- Lines for contacts of a stretch of the table that are in line or in flight and have none: no trigger saw what was written, or
-- the lines were lost. Returns how many.
--
-- One that is delivered in this very moment gets a line without a contact, which does no harm.
--
-- $1  bigint  first page
-- $2  bigint  the page after the last
WITH added AS (
    INSERT INTO :line (due_at, key)
    SELECT
        c.:due_at,
        c.:id
    FROM :contacts AS c
    WHERE
        c.ctid >= format('(%s,0)', $1::bigint)::tid
        AND c.ctid < format('(%s,0)', $2::bigint)::tid
        AND c.:due_at IS NOT NULL
        AND NOT EXISTS (SELECT FROM :line AS l WHERE l.due_at = c.:due_at AND l.key :is c.:id)
    RETURNING 1
)

SELECT count(*) AS added
FROM added
