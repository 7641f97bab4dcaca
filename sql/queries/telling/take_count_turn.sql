-- Who counts all contacts: the worker that has this lock, for as long as its session lives. A lock of a session that is no worker's
-- counts for nothing: then the worker that was registered first counts. And how old the last count is, and how long it took.
--
-- $1  integer  id of this worker
SELECT
    CASE
        WHEN pg_try_advisory_lock(:count_lock, 0) THEN TRUE
        WHEN EXISTS (
            SELECT
            FROM pg_locks AS l
            JOIN crm_sync.living_workers AS w ON l.pid = w.pid
            WHERE
                l.locktype = 'advisory'
                AND l.database = (SELECT d.oid FROM pg_database AS d WHERE d.datname = current_database())
                AND l.classid = :count_lock
                AND l.granted
        ) THEN FALSE
        ELSE $1::integer = (SELECT min(w.id) FROM crm_sync.living_workers AS w)
    END AS is_ours
