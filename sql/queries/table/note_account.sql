-- Notes the account that the ids of a CRM belong to from now on, unless another worker has just noted one. The row is not waited for.
-- No row if it was not noted.
--
-- $1  text  the account
-- $2  text  the one that was noted before, or NULL
UPDATE crm_sync.lanes
SET
    account = $1::text,
    account_since = CASE WHEN $2::text IS NOT NULL THEN clock_timestamp() END
WHERE
    crm = (
        SELECT l.crm
        FROM crm_sync.lanes AS l
        WHERE
            l.crm = :'crm'
            AND l.account IS NOT DISTINCT FROM $2::text
        FOR NO KEY UPDATE SKIP LOCKED
    )
RETURNING account
