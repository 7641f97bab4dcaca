-- The schema itself stays: what yoyo notes down of this very rollback is in it.

DROP FUNCTION crm_sync.has_column(text);

DROP FUNCTION crm_sync.full_name(regclass);

DROP FUNCTION crm_sync.contacts();

DROP TABLE crm_sync.workers;

DROP TABLE crm_sync.budgets;

DROP TABLE crm_sync.lanes;

DROP TABLE crm_sync.added;

DROP TABLE crm_sync.adopted;
