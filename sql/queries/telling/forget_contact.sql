-- Removes a contact's key from its lines of history, with everything that may lead to it. The lines remain, and are counted.
--
-- $1  id[]  the contacts
UPDATE crm_sync.history
SET
    key = NULL,
    reason = NULL,
    request_id = NULL,
    remote_id = NULL,
    trace = NULL
WHERE key = ANY (ARRAY(SELECT :key_name (c.id::text) FROM unnest($1:::sent_keys) AS c (id)))
RETURNING crm
