-- What the living workers have delivered in the last minute, and how many of them have this lane.
SELECT
    p.crm,
    p.workers,
    p.delivered_last_minute,
    p.delivering_s,
    p.last_delivered_at
FROM crm_sync.pace AS p
