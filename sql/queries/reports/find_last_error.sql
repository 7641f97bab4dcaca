-- The latest failure of one CRM: its reason, and when. Of contacts that failed at another CRM since, the time is not known.
SELECT
    :processing_error AS error,
    last_retry_at AS failed_at
FROM :contacts
WHERE
    :processing_error IS NOT NULL
    AND last_failed_crm = :'crm'
ORDER BY last_retry_at DESC NULLS LAST
LIMIT 1
