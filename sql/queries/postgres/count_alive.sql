-- The number of living workers.
SELECT count(*) AS alive
FROM crm_sync.living_workers
