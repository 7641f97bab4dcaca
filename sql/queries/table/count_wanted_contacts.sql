-- How many contacts of one CRM a selection means, counted no further than one can be sure of in a moment.
--
-- :failed  with which codes they failed; $2 is in it
-- $1  text[]   with these words in the sync status; NULL: with any
-- $2  text[]   failed with these codes; NULL: whatever the reason
-- $3  integer  counted to here
SELECT count(*)
FROM (
    SELECT
    FROM :contacts
    WHERE
        ($1::text[] IS NULL OR :sync_status::text = ANY ($1::text[]))
        AND :failed
    LIMIT $3::integer
) AS s
