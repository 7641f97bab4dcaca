-- Whether there is a contact with this key.
--
-- $1  id
SELECT :id AS id
FROM :contacts
WHERE :id :is $1:::id_type
