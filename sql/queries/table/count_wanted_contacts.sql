-- How many contacts of one CRM match a selection, counted only as far as is possible in a moment.
--
-- :failed  a condition on their failure codes; $2 is in it
-- $1  text[]   with these sync statuses; NULL: any
-- $2  text[]   failed with these codes; NULL: any
-- $3  integer  limit of the count
SELECT count(*)
FROM (
    SELECT
    FROM :contacts
    WHERE
        ($1::text[] IS NULL OR :sync_status::text = ANY ($1::text[]))
        AND :failed
    LIMIT $3::integer
) AS s
