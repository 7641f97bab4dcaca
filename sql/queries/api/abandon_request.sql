-- A request with an Idempotency-Key was not carried out: the same key may be used again at once.
--
-- $1  bytea  the caller and the key, hashed
DELETE FROM crm_sync.requests
WHERE name = $1::bytea AND answer IS NULL
