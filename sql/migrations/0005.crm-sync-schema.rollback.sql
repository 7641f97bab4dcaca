DROP TABLE crm_sync.workers;

DROP TABLE crm_sync.budgets;

DROP TABLE crm_sync.lanes;

DROP SCHEMA crm_sync;
