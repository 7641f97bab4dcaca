-- One page of contacts in key order.
--
-- is_open: it has no id there, and no delivery is going to give it one.
--
-- $1  text     after the contact with this key; NULL: from the first
-- $2  integer  at most this many
SELECT
    :id AS id,
    :id::text AS key,
    :remote_id IS NULL AND :claimed_by IS NULL AND :due_at IS NULL AS is_open
FROM :contacts
WHERE
\if :begins
    $1::text IS NULL
\endif
\if :goes_on
    :id :is_after $1::text:::id_type
\endif
ORDER BY :id
LIMIT $2::integer
