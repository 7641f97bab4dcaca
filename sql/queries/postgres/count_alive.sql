-- How many workers live.
SELECT count(*) AS alive
FROM pg_locks
WHERE
    locktype = 'advisory'
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND classid = 1668443499
    AND granted
