COMMENT ON SCHEMA crm_sync IS
'Machinery of crm-sync. Advisory locks, all by (key, id): 1668443496 who migrates or adopts, 1668443497 the bell of a lane, '
'1668443498 its keeper, 1668443499 a living worker, 1668443501 permits for requests at a time (lane * 1000 + number). By one key, '
'a hash seeded with 1668443500: an address in a request.';

DROP TABLE crm_sync.permits;

ALTER TABLE crm_sync.lanes DROP COLUMN keeper;

DROP TRIGGER refuse_older_worker ON crm_sync.workers;

DROP FUNCTION crm_sync.refuse_older_worker();

DROP VIEW crm_sync.living_workers;

ALTER TABLE crm_sync.workers
    ALTER COLUMN id SET NO CYCLE,
    DROP COLUMN backend_pid,
    DROP COLUMN backend_start;
