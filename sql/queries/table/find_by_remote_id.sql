-- The contacts that have an id in the CRM: its index finds them. Some of them, for an id that is in every row is none.
--
-- $1  text  the id
SELECT
    :id AS id,
    :id::text AS key
FROM :contacts
WHERE
    :remote_id :remote_is $1::text:::remote_type
    AND :remote_id IS NOT NULL
LIMIT 10
