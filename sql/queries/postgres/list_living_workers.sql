-- The ids of the workers that live.
SELECT w.id
FROM crm_sync.living_workers AS w
