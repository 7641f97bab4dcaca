-- Changes the breaker of one lane, unless it was changed since it was read, and notifies all workers.
--
-- $1  text    crm
-- $2  bigint  the revision that was read
-- $3  text    closed, throttled, open, half-open
-- $4  float8  since, in seconds since 1970
-- $5  text    CODE: reason, or NULL
-- $6  float8  when the next probe may start, in seconds since 1970, or NULL
-- $7  integer  openings in a row
WITH changed AS (
    UPDATE crm_sync.lanes
    SET
        breaker = $3::text,
        breaker_since = to_timestamp($4::float8),
        breaker_reason = $5::text,
        next_probe_at = to_timestamp($6::float8),
        openings = $7::integer,
        revision = revision + 1
    WHERE
        crm = $1::text
        AND revision = $2::bigint
    RETURNING crm, revision
)

SELECT
    revision,
    pg_notify('crm_sync', 'news ' || crm)
FROM changed
