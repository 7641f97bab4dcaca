-- Some contacts as they stand at one CRM.
--
-- $1  id[]  the contacts
SELECT
    :id AS id,
    :sync_status::text AS sync_status,
    :processing_status::text AS processing_status,
    :processing_error AS processing_error,
    :remote_id::text AS remote_id,
    :attempts AS attempts,
    :due_at AS due_at,
    :claimed_by AS claimed_by,
    :synced_at AS synced_at,
    :flipped_at AS flipped_at,
    clock_timestamp() AS now
FROM :contacts
WHERE :id :is ANY ($1:::id_type[])
