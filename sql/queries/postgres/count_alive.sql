-- How many workers live.
SELECT count(*) AS alive
FROM crm_sync.living_workers
