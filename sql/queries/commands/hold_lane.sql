-- Pauses a CRM by hand, for all workers and until it is resumed, and tells them. One that is paused already keeps since when, and
-- takes the new reason. A person's word outlives a crash of the database, so this commit waits for the disk.
--
-- $1  text  crm
-- $2  text  why
WITH held AS (
    UPDATE crm_sync.lanes
    SET
        held_since = coalesce(held_since, statement_timestamp()),
        held_reason = $2::text,
        revision = revision + 1
    WHERE crm = $1::text
    RETURNING crm
)

SELECT
    crm,
    pg_notify('crm_sync', 'news ' || crm),
    set_config('synchronous_commit', 'on', true)
FROM held
