-- Adds lines for contacts in a stretch of the table that are in line or in flight but have none: no trigger saw the write, or the
-- lines were lost. Returns how many.
--
-- A contact that is delivered at this very moment leaves a line without a contact, which does no harm.
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
