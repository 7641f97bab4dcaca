-- The tick: one look at who lives, and at how many. Registered workers whose lock is gone are dead, and what they had in flight is orphaned.
-- A standby grants advisory locks too, so it is told apart here. The share of the NOTIFY queue in use is a warning, and asking for
-- it has Postgres clear away what everybody has read. And whether contacts were deleted whose records are to be deleted too.
SELECT
    pg_is_in_recovery() OR current_setting('transaction_read_only')::boolean AS read_only,
    pg_notification_queue_usage() AS notify_queue,
    (
        SELECT count(*)
        FROM pg_locks AS l
        WHERE
            l.locktype = 'advisory'
            AND l.database = (SELECT d.oid FROM pg_database AS d WHERE d.datname = current_database())
            AND l.classid = :worker_lock
            AND l.granted
    ) AS alive,
    ARRAY(
        SELECT w.id
        FROM crm_sync.workers AS w
        WHERE
            NOT EXISTS (
                SELECT
                FROM pg_locks AS l
                WHERE
                    l.locktype = 'advisory'
                    AND l.database = (SELECT d.oid FROM pg_database AS d WHERE d.datname = current_database())
                    AND l.classid = :worker_lock
                    AND l.objid = w.id::oid
                    AND l.granted
            )
    ) AS dead,
    ARRAY(
        SELECT l.crm
        FROM crm_sync.lanes AS l
        WHERE
            EXISTS (
                SELECT
                FROM crm_sync.tombstones AS t
                WHERE
                    t.crm = l.crm
                    AND t.due_at <= statement_timestamp()
            )
    ) AS with_deletions
