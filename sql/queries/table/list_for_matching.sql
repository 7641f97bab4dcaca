-- One page of contacts in key order.
--
-- is_open: it has no id there, and no delivery is going to give it one.
--
-- $1  text     after the contact with this key; NULL: from the first
-- $2  integer  at most this many
SELECT
    c.:id:as_read AS id,
    c.:id::text AS key,
    c.:remote_id IS NULL AND c.:claimed_by IS NULL AND c.:due_at IS NULL AS is_open
FROM :contacts AS c
WHERE
\if :begins
    $1::text IS NULL
\endif
\if :goes_on
    c.:id :is_after $1::text:::id_type
\endif
ORDER BY c.:id
LIMIT $2::integer
