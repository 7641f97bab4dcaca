DROP FUNCTION crm_sync.tidy_history(integer);

DROP FUNCTION crm_sync.newest_line(regclass);

DROP VIEW crm_sync.errors_by_code;

DROP VIEW crm_sync.throughput;

DROP VIEW crm_sync.deliveries;

DROP TABLE crm_sync.events;

DROP FUNCTION crm_sync.latency_bounds();

DROP TABLE crm_sync.minutes;

DROP TABLE crm_sync.history;

DROP FUNCTION crm_sync.history_slot(timestamptz);

DROP FUNCTION crm_sync.key_name(text);
