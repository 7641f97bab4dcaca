-- The history of some contacts, the latest first.
--
-- $1  id[]     the contacts
-- $2  text     for this CRM; NULL: for all
-- $3  integer  at most this many
SELECT
    at,
    crm,
    key,
    operation,
    outcome,
    code,
    reason,
    attempt,
    waited_ms,
    took_ms,
    status,
    request_id,
    remote_id,
    worker,
    trace
FROM crm_sync.deliveries
WHERE
    key = ANY (ARRAY(SELECT :key_name (c.id::text) FROM unnest($1:::sent_keys) AS c (id)))
    AND ($2::text IS NULL OR crm = $2::text)
ORDER BY at DESC
LIMIT $3::integer
