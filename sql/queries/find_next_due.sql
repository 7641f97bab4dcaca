-- The earliest contact of one CRM, and the seconds until it is due: zero or less when it is ready, no row when none waits.
-- Nothing is ready before a pause of the lane is over. After an empty claim, "ready" means that the application holds its row.
--
-- $1  id[]  not these: the table refused to have them claimed
SELECT
    extract(
        EPOCH FROM GREATEST(:due_at, (SELECT l.paused_until FROM crm_sync.lanes AS l WHERE l.crm = :'crm')) - statement_timestamp()
    )::float8 AS due_in_s,
    :id
FROM :contacts
WHERE
    :due_at IS NOT NULL
    AND :claimed_by IS NULL
    AND :sync_status = 'Queued'
    AND :id <> ALL ($1:::id_type[])
ORDER BY :due_at
LIMIT 1
