-- The transactions that prevent a change of the contacts table's definition, the oldest first. Their kind and start time are NULL
-- if the role may not see them.
--
-- $1  boolean  include those that only read
SELECT
    l.pid,
    max(s.backend_type) AS kind,
    extract(EPOCH FROM clock_timestamp() - min(s.xact_start))::float8 AS age_s
FROM pg_locks AS l
LEFT JOIN pg_stat_activity AS s ON l.pid = s.pid
WHERE
    l.locktype = 'relation'
    AND l.database = (SELECT d.oid FROM pg_database AS d WHERE d.datname = current_database())
    AND (
        l.relation = :'contacts_name'::regclass
        OR l.relation IN (SELECT p.relid FROM pg_partition_tree(:'contacts_name'::regclass) AS p)
    )
    AND l.granted
    AND l.pid <> pg_backend_pid()
    AND ($1::boolean OR l.mode NOT IN ('AccessShareLock', 'RowShareLock'))
GROUP BY l.pid
ORDER BY age_s DESC NULLS LAST
LIMIT 3
