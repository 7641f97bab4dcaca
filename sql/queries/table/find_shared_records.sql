-- Which of these records of the CRM belong to several contacts with different addresses, ignoring case and whitespace.
-- Those without an address are not counted: nothing of theirs replaces an address.
--
-- At most a hundred contacts of each are examined, because an id that is in every row is not an id.
--
-- $1  text[]  ids in the CRM
SELECT asked.remote_id
FROM unnest($1::text[]) AS asked (remote_id)
CROSS JOIN LATERAL (
    SELECT
        min(holder.address) AS first_address,
        max(holder.address) AS last_address
    FROM (
        SELECT nullif(lower(btrim(c.:email::text, E' \t\n\r\f\x0b')), '') AS address
        FROM :contacts AS c
        WHERE
            c.:remote_id :remote_is asked.remote_id:::remote_type
            AND c.:remote_id IS NOT NULL
        LIMIT 100
    ) AS holder
) AS held
WHERE held.first_address < held.last_address
