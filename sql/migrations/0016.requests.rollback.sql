DROP TABLE crm_sync.requests;
