-- The transactions that a session is waiting for. Their kind and start time are NULL if the role may not see them.
--
-- $1  integer  process id of the session
SELECT
    b.pid,
    s.backend_type AS kind,
    extract(EPOCH FROM clock_timestamp() - s.xact_start)::float8 AS age_s
FROM unnest(pg_blocking_pids($1::integer)) AS b (pid)
LEFT JOIN pg_stat_activity AS s ON b.pid = s.pid
ORDER BY age_s DESC NULLS LAST
LIMIT 3
