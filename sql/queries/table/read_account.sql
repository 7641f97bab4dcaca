-- The account that the ids of a CRM belong to, and whether any are left, in rows or in deletions that are still to be sent. The index on
-- the ids finds one without reading the table.
--
-- $1  text  the account that credentials belong to; only if it is another one is it asked whether ids are left
SELECT
    l.account,
    CASE
        WHEN l.account <> $1::text THEN
            EXISTS (SELECT FROM :contacts WHERE :remote_id IS NOT NULL)
            OR EXISTS (SELECT FROM crm_sync.tombstones AS t WHERE t.crm = :'crm' AND t.remote_id IS NOT NULL)
        ELSE FALSE
    END AS has_ids
FROM crm_sync.lanes AS l
WHERE l.crm = :'crm'
