-- Ends the pause by hand of a CRM, and tells all workers; changes nothing where there is none. As with the pause, the commit waits
-- for the disk.
--
-- $1  text  crm
WITH resumed AS (
    UPDATE crm_sync.lanes
    SET
        held_since = NULL,
        held_reason = NULL,
        revision = revision + 1
    WHERE
        crm = $1::text
        AND held_since IS NOT NULL
    RETURNING crm
)

SELECT
    crm,
    pg_notify('crm_sync', 'news ' || crm),
    set_config('synchronous_commit', 'on', true)
FROM resumed
