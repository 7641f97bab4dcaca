-- The contacts with exactly this address, or with this address in lower case, ignoring whitespace around the given one. Used if
-- there is an index on the address. One whose type ignores case finds all of them.
--
-- $1  text  the address
SELECT
    :id:as_read AS id,
    :id::text AS key
FROM :contacts
WHERE
    :email :email_is ANY (ARRAY[
        btrim($1::text, E' \t\n\r\f\x0b')::text:::email_type,
        lower(btrim($1::text, E' \t\n\r\f\x0b'))::text:::email_type
    ])
