-- Alerts that were raised: the open ones, and those that ended recently, the latest first. At most a thousand.
--
-- $1  float8  seconds for which ended ones are listed
SELECT
    id,
    condition,
    crm,
    code,
    since,
    raised_at,
    well_since,
    ended_at,
    contacts,
    reason,
    untold,
    told,
    clock_timestamp() AS now
FROM crm_sync.alerts
WHERE
    raised_at IS NOT NULL
    AND (ended_at IS NULL OR ended_at > clock_timestamp() - make_interval(secs => $1::float8))
ORDER BY
    ended_at DESC NULLS FIRST,
    since DESC
LIMIT 1000
