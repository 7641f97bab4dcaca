-- Failure codes that are new, and still occur.
--
-- $1  float8  seconds for which a code is new
-- $2  float8  seconds without an occurrence after which it counts as gone
SELECT
    crm,
    code,
    new_since,
    contacts AS failures
FROM crm_sync.alert_codes
WHERE
    new_since > clock_timestamp() - make_interval(secs => $1::float8)
    AND seen_at > clock_timestamp() - make_interval(secs => $2::float8)
ORDER BY
    new_since,
    crm,
    code
LIMIT 100
