-- Pauses a CRM by hand, for all workers and until it is resumed, and tells them. One that is paused already keeps since when, and
-- takes the new reason; was_since and was_reason are what it was before. A person's word outlives a crash of the database, so this commit waits for the disk.
--
-- $1  text  crm
-- $2  text  why
WITH
-- Locked, so that of two at a time the second sees the first.
before AS MATERIALIZED (
    SELECT
        l.crm,
        l.held_since,
        l.held_reason
    FROM crm_sync.lanes AS l
    WHERE l.crm = $1::text
    FOR NO KEY UPDATE
),

held AS (
    UPDATE crm_sync.lanes AS l
    SET
        held_since = coalesce(b.held_since, statement_timestamp()),
        held_reason = $2::text,
        revision = l.revision + 1
    FROM before AS b
    WHERE l.crm = b.crm
    RETURNING
        l.crm,
        b.held_since AS was_since,
        b.held_reason AS was_reason
)

SELECT
    crm,
    was_since,
    was_reason,
    pg_notify('crm_sync', 'news ' || crm),
    set_config('synchronous_commit', 'on', true)
FROM held
