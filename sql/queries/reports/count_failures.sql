-- The commonest reasons of failure of one CRM by their code, and a sample of each. The index of failures finds them.
SELECT
    split_part(left(:processing_error, 40), ':', 1) AS code,
    count(*) AS contacts,
    min(:processing_error) AS sample
FROM :contacts
WHERE :processing_error IS NOT NULL
GROUP BY 1
ORDER BY 2 DESC
LIMIT 10
