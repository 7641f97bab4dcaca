-- The keys of ready contacts of one CRM, in the order of service. Used for a claim of which the table refuses some: each is then
-- claimed by its key. As in claim_contacts.sql, the line says where to look, and the row decides.
--
-- $1  id[]         not these: the table refused to have them claimed
-- $2  timestamptz  due after this
-- $3  integer      at most this many
SELECT c.id:as_read AS id
FROM :line AS l
CROSS JOIN LATERAL (
    SELECT :id AS id
    FROM :contacts
    WHERE
        :id :is l.key
        AND :due_at = l.due_at
        AND :claimed_by IS NULL
        AND :sync_status = 'Queued'
        -- A subquery, because it is hashed, however many there are.
        AND NOT :id :is ANY (SELECT unnest($1:::sent_keys))
    LIMIT 1
) AS c
WHERE
    l.due_at > $2::timestamptz
    AND l.due_at <= statement_timestamp()
ORDER BY l.due_at
LIMIT $3::integer
