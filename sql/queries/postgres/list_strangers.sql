-- The sessions that are not workers but hold a lock only workers use, as in find_dead_workers.sql, with their owners as far as
-- this role may see them.
SELECT DISTINCT
    l.pid,
    s.usename::text AS role,
    s.application_name,
    s.client_addr::text AS address
FROM pg_locks AS l
LEFT JOIN pg_stat_activity AS s ON l.pid = s.pid
WHERE
    l.locktype = 'advisory'
    AND l.database = (SELECT d.oid FROM pg_database AS d WHERE d.datname = current_database())
    AND l.objsubid = 2
    AND (l.classid = :worker_lock OR (l.classid IN (:bell_lock, :address_seed, :count_lock) AND l.mode = 'ExclusiveLock'))
    AND l.granted
    AND l.pid NOT IN (SELECT w.pid FROM crm_sync.living_workers AS w)
ORDER BY l.pid
