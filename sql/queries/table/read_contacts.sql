-- What is to be sent for claimed contacts, if the claim could not return it because the mapping fails for one of them. Also what
-- would be sent for others, on a person's request.
--
-- $1  id[]    the contacts
-- $2  bigint  the fencing token of their claim; 0, which is none: claimed or not
SELECT
    :id:as_read AS id,
    :mapped
FROM :contacts
WHERE
    :id :is ANY ($1:::sent_keys)
    AND ($2::bigint = 0 OR :claimed_by = $2::bigint)
    -- As in claim_contacts.sql, for functions that the mapping calls.
    AND (SELECT set_config('search_path', :'own_path', TRUE)) IS NOT NULL
