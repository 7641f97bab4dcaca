-- Makes the functions for deleted contacts again, because they name the columns that were renamed.
SELECT crm_sync.set_on_delete(crm, on_delete)
FROM crm_sync.lanes
WHERE on_delete <> 'keep'
