-- The keys of contacts of one CRM that are ready, in the order of service. For a claim of which the table refuses some: each is then
-- claimed by its key.
--
-- $1  id[]         not these: the table refused to have them claimed
-- $2  timestamptz  due after this
-- $3  integer      at most so many
SELECT :id AS id
FROM :contacts
WHERE
    :due_at > $2::timestamptz
    AND :due_at <= statement_timestamp()
    AND :claimed_by IS NULL
    AND :sync_status = 'Queued'
    -- A subquery, for that is hashed, however many they are.
    AND NOT :id :is ANY (SELECT unnest($1:::id_type[]))
ORDER BY :due_at
LIMIT $3::integer
