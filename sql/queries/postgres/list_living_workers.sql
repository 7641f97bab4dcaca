-- The ids of the living workers.
SELECT w.id
FROM crm_sync.living_workers AS w
