-- Takes a contact's name off its lines of history, and whatever may lead to it. That something was done remains, and is counted.
--
-- $1  id[]  the contacts
UPDATE crm_sync.history
SET
    key = NULL,
    reason = NULL,
    request_id = NULL,
    remote_id = NULL,
    trace = NULL
WHERE key = ANY (ARRAY(SELECT :key_name (c.id::text) FROM unnest($1:::id_type[]) AS c (id)))
RETURNING crm
