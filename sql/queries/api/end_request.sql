-- Stores the answer to a request with an Idempotency-Key.
--
-- $1  bytea  the caller and the key, hashed
-- $2  bytea  the answer
UPDATE crm_sync.requests
SET answer = $2::bytea
WHERE name = $1::bytea
