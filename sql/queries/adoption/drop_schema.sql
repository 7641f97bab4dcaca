-- Not CASCADE, so that no object of another owner is dropped with it.
DROP SCHEMA crm_sync
