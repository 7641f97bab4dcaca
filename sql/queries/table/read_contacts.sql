-- What is to be sent of claimed contacts, where the claim could not return it: for one of them the mapping fails. And what would
-- be sent of others, for a person who asks.
--
-- $1  id[]    the contacts
-- $2  bigint  the fencing token of their claim; 0, which is none: claimed or not
SELECT
    :id,
    :mapped
FROM :contacts
WHERE
    :id :is ANY ($1:::id_type[])
    AND ($2::bigint = 0 OR :claimed_by = $2::bigint)
    -- As in claim_contacts.sql, for functions that the mapping calls.
    AND (SELECT set_config('search_path', :'own_path', TRUE)) IS NOT NULL
