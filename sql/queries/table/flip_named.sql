-- Flips a contact that a person has named, as an application would: the trigger does the rest. Not one that is in line already,
-- whose place and attempts stay, nor one in flight. One whose row the application has locked is left out: no worker waits for it.
--
-- $1  id  the contact
WITH free AS MATERIALIZED (
    SELECT :id AS id
    FROM :contacts
    WHERE
        :id :is $1:::id_type
        -- As in claim_contacts.sql, for triggers of the table's own.
        AND (SELECT set_config('search_path', :'own_path', TRUE)) IS NOT NULL
        AND :claimed_by IS NULL
        AND (:sync_status <> 'Queued' OR :due_at IS NULL)
    FOR NO KEY UPDATE SKIP LOCKED
)

UPDATE :contacts AS c
SET :sync_status = 'Queued'
FROM free AS f
WHERE c.:id :is f.id
RETURNING c.:id
