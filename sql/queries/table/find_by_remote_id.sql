-- The contacts with an id in the CRM, found by its index. Only some of them, because an id that is in every row is not an id.
--
-- $1  text  the id
SELECT
    :id:as_read AS id,
    :id::text AS key
FROM :contacts
WHERE
    :remote_id :remote_is $1::text:::remote_type
    AND :remote_id IS NOT NULL
LIMIT 10
