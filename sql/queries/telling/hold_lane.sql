-- Pauses a CRM manually, for all workers until it is resumed, and notifies them. If it is paused already, the start stays, and
-- the new reason replaces the old one; was_since and was_reason are the previous values. A manual pause must survive a crash of
-- the database, so this commit waits for the disk.
--
-- $1  text  crm
-- $2  text  why
WITH
-- Locked, so that of two concurrent pauses the second sees the first.
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
