-- The state of some contacts in one CRM. A time that makes no sense (infinity, BC), which drivers cannot read, becomes NULL: an
-- application that may insert rows can write one.
--
-- $1  id[]  the contacts
SELECT
    :id:as_read AS id,
    :sync_status::text AS sync_status,
    :processing_status::text AS processing_status,
    :processing_error AS processing_error,
    :remote_id::text AS remote_id,
    :attempts AS attempts,
    CASE WHEN :due_at BETWEEN '1970-01-01' AND '9000-01-01' THEN :due_at END AS due_at,
    :claimed_by AS claimed_by,
    CASE WHEN :synced_at BETWEEN '1970-01-01' AND '9000-01-01' THEN :synced_at END AS synced_at,
    CASE WHEN :flipped_at BETWEEN '1970-01-01' AND '9000-01-01' THEN :flipped_at END AS flipped_at,
    clock_timestamp() AS now
FROM :contacts
WHERE :id :is ANY ($1:::sent_keys)
