-- What is or may be wrong, and ended alerts that are still to be reported.
SELECT
    id,
    condition,
    crm,
    code,
    since,
    first_seen_at,
    seen_at,
    well_since,
    raised_at,
    ended_at,
    contacts,
    reason,
    message,
    message_at,
    untold,
    told,
    tries,
    next_try_at
FROM crm_sync.alerts
WHERE ended_at IS NULL OR untold <> '{}'
ORDER BY id
