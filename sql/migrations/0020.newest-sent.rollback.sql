ALTER TABLE crm_sync.lanes DROP COLUMN newest_sent;
