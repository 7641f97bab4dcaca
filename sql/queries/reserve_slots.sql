-- Reserves the account's next requests for this worker, evenly spaced (GCRA with a burst of one), and returns in how many seconds
-- the first may start. Later than the patience: nothing is reserved. All workers share the row, by the database's clock.
--
-- $1  text     crm
-- $2  integer  so many requests
-- $3  float8   seconds between two requests
-- $4  float8   patience, in seconds
WITH slot AS (
    SELECT
        crm,
        clock_timestamp() AS now,
        GREATEST(next_slot_at, paused_until, clock_timestamp()) AS first
    FROM crm_sync.lanes
    WHERE crm = $1::text
    FOR NO KEY UPDATE
),

reserved AS (
    UPDATE crm_sync.lanes AS l
    SET next_slot_at = s.first + make_interval(secs => $2::integer * $3::float8)
    FROM slot AS s
    WHERE
        l.crm = s.crm
        AND s.first <= s.now + make_interval(secs => $4::float8)
)

SELECT extract(EPOCH FROM first - now)::float8 AS first_in_s
FROM slot
