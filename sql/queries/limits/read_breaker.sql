-- The state of a lane that all workers share: its breaker, whether it is paused by hand, and the account that ids belong to. Times are
-- in seconds since 1970.
--
-- $1  text  crm
SELECT
    breaker,
    extract(EPOCH FROM breaker_since)::float8 AS since,
    breaker_reason AS reason,
    extract(EPOCH FROM next_probe_at)::float8 AS next_probe,
    openings,
    held_since IS NOT NULL AS held,
    revision,
    account,
    extract(EPOCH FROM clock_timestamp())::float8 AS now
FROM crm_sync.lanes
WHERE crm = $1::text
