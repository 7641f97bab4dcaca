-- Flips a contact that a person named, as an application would: the trigger does the rest. Contacts already in line, which keep
-- their place and attempts, and those in flight are left out. So are rows locked by the application, because workers do not wait
-- for them.
--
-- $1  id  the contact
WITH free AS MATERIALIZED (
    SELECT :id AS id
    FROM :contacts
    WHERE
        :id :is $1:::sent_key
        -- As in claim_contacts.sql, for the table's own triggers.
        AND (SELECT set_config('search_path', :'own_path', TRUE)) IS NOT NULL
        AND :claimed_by IS NULL
        AND (:sync_status <> 'Queued' OR :due_at IS NULL)
    FOR NO KEY UPDATE SKIP LOCKED
)

UPDATE :contacts AS c
SET :sync_status = 'Queued'
FROM free AS f
WHERE c.:id :is f.id
RETURNING c.:id:as_read AS id
