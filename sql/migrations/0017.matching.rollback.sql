DROP TABLE crm_sync.matching;
