-- Contacts of one CRM that a trigger of the table flips whenever a worker writes them: how many, counted up to a limit, and the reason
-- of one.
--
-- $1  integer  at most this many
-- $2  text     the failure code that says so
SELECT
    count(*) AS contacts,
    min(l.error) AS reason
FROM (
    SELECT :processing_error::text AS error
    FROM :contacts
    WHERE
        :processing_error IS NOT NULL
        AND split_part(left(:processing_error, 40), ':', 1) = $2::text
    LIMIT $1::integer
) AS l
