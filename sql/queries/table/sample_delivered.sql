-- The keys of some delivered contacts of one CRM, from randomly chosen pages of the table.
--
-- $1  real     percent of the pages that are read
-- $2  integer  at most this many
SELECT c.:id:as_read AS id
FROM :contacts AS c TABLESAMPLE SYSTEM ($1::real)
WHERE
    c.:sync_status = 'Complete'
    AND c.:claimed_by IS NULL
    AND c.:due_at IS NULL
ORDER BY random()
LIMIT $2::integer
