-- Whether there is a contact with this key.
--
-- $1  id
SELECT :id:as_read AS id
FROM :contacts
WHERE :id :is $1:::sent_key
