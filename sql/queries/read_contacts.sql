-- What is to be sent of claimed contacts, where the claim could not return it: for one of them the mapping fails.
--
-- $1  id[]    the contacts
-- $2  bigint  the fencing token of their claim
SELECT
    :id,
    :mapped
FROM :contacts
WHERE
    :id = ANY ($1:::id_type[])
    AND :claimed_by = $2::bigint
