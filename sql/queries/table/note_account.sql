-- Notes the account that the ids of a CRM belong to from now on, unless another worker has just noted one, and notifies all workers: one
-- that has the key of another account stops. The row is not waited for. No row if it was not noted.
--
-- $1  text  the account
-- $2  text  the one that was noted before, or NULL
WITH noted AS (
    UPDATE crm_sync.lanes
    SET
        account = $1::text,
        account_since = CASE WHEN $2::text IS NULL THEN account_since ELSE clock_timestamp() END
    WHERE
        crm = (
            SELECT l.crm
            FROM crm_sync.lanes AS l
            WHERE
                l.crm = :'crm'
                AND l.account IS NOT DISTINCT FROM $2::text
            FOR NO KEY UPDATE SKIP LOCKED
        )
    RETURNING crm
)

SELECT pg_notify('crm_sync', 'news ' || crm)
FROM noted
