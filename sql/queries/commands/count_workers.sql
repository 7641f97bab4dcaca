-- Workers that are registered: the demo waits for the first.
SELECT count(*) AS workers
FROM crm_sync.workers
