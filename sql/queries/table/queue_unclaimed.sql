-- Contacts that say Processing without a claim, because a trigger of the table has taken only the claim back: they are Queued again.
-- A full look would take them for withdrawn. It is a flip for crm-sync's own trigger, which keeps their place in line.
--
-- $1  id[]  the contacts
UPDATE :contacts
SET :sync_status = 'Queued'
WHERE
    :id :is ANY ($1:::sent_keys)
    AND :claimed_by IS NULL
    AND :sync_status = 'Processing'
    AND :due_at IS NOT NULL
    -- As in claim_contacts.sql, for the table's own triggers.
    AND (SELECT set_config('search_path', :'own_path', TRUE)) IS NOT NULL
