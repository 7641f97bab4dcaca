-- Requests of the API that have an Idempotency-Key: one that is sent again is answered as the first was, and done once.
--
-- name is a hash of who asks and the key, request one of what is asked for. answer is what the API answered: counts and states, no
-- address. Rows are forgotten after a day.
CREATE TABLE crm_sync.requests (
    name bytea PRIMARY KEY,
    request bytea NOT NULL,
    begun_at timestamptz NOT NULL,
    answer bytea
);

CREATE INDEX idx_requests_begun_at ON crm_sync.requests (begun_at);
