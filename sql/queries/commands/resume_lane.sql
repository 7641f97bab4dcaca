-- Ends a CRM's manual pause and notifies all workers; changes nothing if there is none. As with the pause, the commit waits for
-- the disk.
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
