-- The contacts with an address, case and whitespace aside: for a person who names one. The whole table is read, for no index need
-- have the address, and not in order, for which an index on the key would be read in addition.
--
-- $1  text  the address
SELECT
    :id AS id,
    :id::text AS key
FROM :contacts
WHERE
    lower(btrim(:email, E' \t\n\r\f\x0b'))
    = lower(btrim($1::text, E' \t\n\r\f\x0b'))
