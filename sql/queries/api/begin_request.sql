-- Begins a request with an Idempotency-Key, or returns the answer to the first one with it. Keys older than a day are deleted,
-- some at a time.
--
-- If a request was begun a minute ago and never ended, its process has died, and this request is carried out.
--
-- $1  bytea  the caller and the key, hashed
-- $2  bytea  the request, hashed
WITH forgotten AS (
    DELETE FROM crm_sync.requests
    WHERE ctid = ANY (
        ARRAY(
            SELECT r.ctid
            FROM crm_sync.requests AS r
            WHERE r.begun_at < statement_timestamp() - INTERVAL '1 day' AND r.name <> $1::bytea
            ORDER BY r.begun_at
            LIMIT 100
        )
    )
),

begun AS (
    INSERT INTO crm_sync.requests AS r (name, request, begun_at)
    VALUES ($1::bytea, $2::bytea, statement_timestamp())
    ON CONFLICT (name) DO UPDATE
    SET request = excluded.request, begun_at = excluded.begun_at, answer = NULL
    WHERE
        r.begun_at < statement_timestamp() - INTERVAL '1 day'
        OR (r.answer IS NULL AND r.request = excluded.request AND r.begun_at < statement_timestamp() - INTERVAL '1 minute')
    RETURNING r.name
)

SELECT
    EXISTS (SELECT FROM begun) AS is_ours,
    coalesce(NOT EXISTS (SELECT FROM begun) AND f.request <> $2::bytea, FALSE) AS is_other,
    CASE WHEN NOT EXISTS (SELECT FROM begun) THEN f.answer END AS answer
FROM (VALUES (TRUE)) AS always (one)
LEFT JOIN crm_sync.requests AS f ON f.name = $1::bytea
