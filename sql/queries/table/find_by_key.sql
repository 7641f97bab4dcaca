-- Whether there is a contact with this key.
--
-- $1  id
SELECT :id AS id
FROM :contacts
WHERE :id = $1:::id_type
