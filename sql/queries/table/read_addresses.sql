-- The addresses of some contacts, as they are in the table.
--
-- $1  id[]  the contacts
SELECT
    :id:as_read AS id,
    :id::text AS key,
    :email::text AS email
FROM :contacts
WHERE :id :is ANY ($1:::sent_keys)
