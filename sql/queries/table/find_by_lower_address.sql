-- The contacts with an address, ignoring case and surrounding whitespace. Used if there is an index on the address in lower case.
--
-- $1  text  the address
SELECT
    :id:as_read AS id,
    :id::text AS key
FROM :contacts
WHERE lower(:email::text) = lower(btrim($1::text, E' \t\n\r\f\x0b'))
