-- Whether each CRM may be called, and why not: its breaker, and whether a person has paused it.
SELECT
    crm,
    breaker,
    breaker_since,
    breaker_reason,
    next_probe_at,
    openings,
    held_since,
    held_reason,
    clock_timestamp() AS now
FROM crm_sync.lanes
WHERE installed
ORDER BY id
