DROP TYPE crm_processing_status;

DROP TYPE crm_sync_status;
