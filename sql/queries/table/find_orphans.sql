-- Contacts of one CRM that dead workers had in flight. Such a contact still has its due time, so the index finds it.
--
-- $1  integer[]  ids of the dead workers
SELECT
    :id,
    :claimed_by AS claimed_by,
    :attempts AS attempts
FROM :contacts
WHERE
    :due_at IS NOT NULL
    AND (:claimed_by >> 32)::integer = ANY ($1::integer[])
