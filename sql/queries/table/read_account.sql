-- The account that the ids of a CRM belong to, and whether anything is bound to it: ids in rows, deletions that are not done, or requests
-- of other workers, which may bring ids.
--
-- Ordered, and no EXISTS, because otherwise a table in which all ids were just forgotten would be read to its end: its statistics still
-- say that most rows have one. The contacts in flight are the oldest in line, or nearly so.
--
-- $1  text     the account that credentials belong to; if it is the noted one, nothing is looked for
-- $2  integer  id of this worker
SELECT
    l.account,
    CASE
        WHEN l.account <> $1::text THEN
            (
                SELECT TRUE
                FROM :contacts
                WHERE :remote_id IS NOT NULL
                ORDER BY :remote_id
                LIMIT 1
            ) IS TRUE
            OR EXISTS (SELECT FROM crm_sync.tombstones AS t WHERE t.crm = :'crm')
            OR EXISTS (
                SELECT
                FROM (
                    SELECT key
                    FROM :line
                    ORDER BY due_at
                    LIMIT 10000
                ) AS o
                CROSS JOIN LATERAL (
                    SELECT
                    FROM :contacts
                    WHERE
                        :id :is o.key
                        AND :claimed_by >> 32 <> $2::integer
                    OFFSET 0
                ) AS c
            )
        ELSE FALSE
    END AS is_bound
FROM crm_sync.lanes AS l
WHERE l.crm = :'crm'
