-- Recreates the trigger functions, because they contain the names of renamed columns.
SELECT crm_sync.create_flip_function(crm)
FROM crm_sync.lanes
WHERE installed
