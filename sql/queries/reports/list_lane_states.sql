-- Whether each CRM may be called, and why not: its breaker, whether a person has paused it, and what keeps a living worker from
-- delivering to it.
SELECT
    crm,
    breaker,
    breaker_since,
    breaker_reason,
    next_probe_at,
    openings,
    held_since,
    held_reason,
    clock_timestamp() AS now,
    CASE WHEN faulty.alive THEN fault END AS fault,
    CASE WHEN faulty.alive THEN fault_since END AS fault_since
FROM crm_sync.lanes
CROSS JOIN LATERAL (
    SELECT EXISTS (SELECT FROM crm_sync.living_workers AS w WHERE w.id = fault_worker) AS alive
) AS faulty
WHERE installed OR faulty.alive
ORDER BY id
