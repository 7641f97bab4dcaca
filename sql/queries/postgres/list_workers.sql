-- The registered workers, and whether each is still alive.
SELECT
    w.id,
    w.host,
    w.pid,
    w.version,
    w.started_at,
    w.id IN (SELECT l.id FROM crm_sync.living_workers AS l) AS alive
FROM crm_sync.workers AS w
ORDER BY w.id
