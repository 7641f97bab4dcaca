-- Seconds until the earliest contact of one CRM is due: zero or less when one is ready, no row when none waits.
-- After an empty claim, "ready" means that the application holds its row.
SELECT extract(EPOCH FROM :due_at - statement_timestamp())::float8 AS due_in_s
FROM :contacts
WHERE
    :due_at IS NOT NULL
    AND :claimed_by IS NULL
    AND :sync_status = 'Queued'
ORDER BY :due_at
LIMIT 1
