-- Which of these records of the CRM several contacts have that differ in their address, case and whitespace aside.
--
-- A hundred contacts of each are looked at, for an id that is in every row is none.
--
-- $1  text[]  ids in the CRM
SELECT asked.remote_id
FROM unnest($1::text[]) AS asked (remote_id)
CROSS JOIN LATERAL (
    SELECT
        min(holder.address) AS first_address,
        max(holder.address) AS last_address
    FROM (
        SELECT lower(btrim(c.:email::text, E' \t\n\r\f\x0b')) AS address
        FROM :contacts AS c
        WHERE
            c.:remote_id :remote_is asked.remote_id:::remote_type
            AND c.:remote_id IS NOT NULL
        LIMIT 100
    ) AS holder
) AS held
WHERE held.first_address < held.last_address
