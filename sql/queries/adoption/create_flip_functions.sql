-- Makes the functions of the triggers again, because they name the columns that were renamed.
SELECT crm_sync.create_flip_function(crm)
FROM crm_sync.lanes
WHERE installed
