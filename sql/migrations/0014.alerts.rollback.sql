DROP TABLE crm_sync.alert_codes;

DROP TABLE crm_sync.alert_minutes;

DROP TABLE crm_sync.alerts;

DROP TABLE crm_sync.alert_duty;
