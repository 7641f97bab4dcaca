-- The contacts with an address in any case, whitespace around it aside. Where an index has it in lower case.
--
-- $1  text  the address
SELECT
    :id AS id,
    :id::text AS key
FROM :contacts
WHERE lower(:email::text) = lower(btrim($1::text, E' \t\n\r\f\x0b'))
