DROP TABLE crm_sync.alert_codes;

ALTER TABLE crm_sync.minutes DROP COLUMN strays;

DROP TABLE crm_sync.alerts;

DROP TABLE crm_sync.alert_duty;
