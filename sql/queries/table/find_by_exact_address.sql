-- The contacts with exactly this address, ignoring surrounding whitespace. Used if there is an index on the address.
--
-- $1  text  the address
SELECT
    :id AS id,
    :id::text AS key
FROM :contacts
WHERE :email :email_is btrim($1::text, E' \t\n\r\f\x0b')::text:::email_type
