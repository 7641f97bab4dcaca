-- An id that may be free for a new worker. It takes its lock before it registers: a registered worker without its lock is dead.
SELECT nextval(pg_get_serial_sequence('crm_sync.workers', 'id'))::integer
