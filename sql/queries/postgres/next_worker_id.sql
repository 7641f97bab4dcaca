-- An id that may be free for a new worker. The worker takes its lock before it registers, because a registered worker without its
-- lock is dead.
SELECT nextval(pg_get_serial_sequence('crm_sync.workers', 'id'))::integer
