-- The contacts with an address that a person named, ignoring case and surrounding whitespace. The whole table is read, because
-- there may be no index on the address, and not in order, which would also read the index on the key.
--
-- $1  text  the address
SELECT
    :id:as_read AS id,
    :id::text AS key
FROM :contacts
WHERE
    lower(btrim(:email, E' \t\n\r\f\x0b'))
    = lower(btrim($1::text, E' \t\n\r\f\x0b'))
