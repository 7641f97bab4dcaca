-- Recreates the functions for deleted contacts, because they contain the names of renamed columns.
SELECT crm_sync.set_on_delete(crm, on_delete)
FROM crm_sync.lanes
WHERE on_delete <> 'keep'
