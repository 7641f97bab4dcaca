-- The earliest contact of one CRM, and the seconds until it is due: zero or less when it is ready, NULL when none is waiting.
-- Always one row. After an empty claim, "ready" means that the application holds its row.
--
-- steps_over: there are lines before it, of contacts in flight or of no contact.
--
-- It does not check whether the CRM may be called, but the revision of its breaker shows a worker that it has missed news.
--
-- $1  id[]         not these: the table refused to have them claimed
-- $2  timestamptz  due after this; the beginning of time for the first of all
SELECT
    l.revision,
    f.due_in_s,
    f.id:as_read AS id,
    EXISTS (
        SELECT
        FROM :line AS o
        WHERE f.due_at IS NULL OR o.due_at < f.due_at
    ) AS steps_over
FROM crm_sync.lanes AS l
LEFT JOIN LATERAL (
    SELECT
        n.due_at,
        -- Each by itself: Postgres 16 subtracts no infinite time.
        date_part('epoch', n.due_at) - date_part('epoch', statement_timestamp()) AS due_in_s,
        c.id
    FROM :line AS n
    CROSS JOIN LATERAL (
        SELECT :id AS id
        FROM :contacts
        WHERE
            :id :is n.key
            AND :due_at = n.due_at
            AND :claimed_by IS NULL
            AND :sync_status = 'Queued'
            AND :id :is_not ALL ($1:::sent_keys)
        LIMIT 1
    ) AS c
    WHERE n.due_at > $2::timestamptz
    ORDER BY n.due_at
    LIMIT 1
) AS f ON TRUE
WHERE l.crm = :'crm'
