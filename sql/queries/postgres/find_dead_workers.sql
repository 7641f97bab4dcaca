-- The tick: which workers are alive, and how many. Registered workers that are not alive are dead, and their contacts in flight
-- are orphaned. A standby grants advisory locks too, so it is detected here. The used share of the NOTIFY queue serves as a
-- warning, and querying it makes Postgres discard notifications that all sessions have read. It also returns whether deletions
-- are due, and a fingerprint of the contacts table: a worker that sees it change reads the table again. With xmin, it also sees what
-- was changed and changed back since the last tick, such as triggers that were disabled for a bulk load: flips may be unseen.
--
-- $1  integer  id of this worker
WITH living AS MATERIALIZED (
    SELECT
        w.id,
        w.pid
    FROM crm_sync.living_workers AS w
)

SELECT
    pg_is_in_recovery() OR current_setting('transaction_read_only')::boolean AS read_only,
    pg_notification_queue_usage() AS notify_queue,
    extract(EPOCH FROM clock_timestamp())::float8 AS now,
    EXISTS (SELECT FROM crm_sync.workers AS w WHERE w.id = $1::integer AND w.backend_pid = pg_backend_pid()) AS is_registered,
    (SELECT count(*) FROM living) AS alive,
    ARRAY(SELECT w.id FROM crm_sync.workers AS w WHERE w.id NOT IN (SELECT v.id FROM living AS v)) AS dead,
    -- Sessions that are not workers but hold a lock only workers use. The applications' flips take the bell in shared mode.
    ARRAY(
        SELECT DISTINCT l.pid
        FROM pg_locks AS l
        WHERE
            l.locktype = 'advisory'
            AND l.database = (SELECT d.oid FROM pg_database AS d WHERE d.datname = current_database())
            AND l.objsubid = 2
            AND (l.classid = :worker_lock OR (l.classid IN (:bell_lock, :address_seed, :count_lock) AND l.mode = 'ExclusiveLock'))
            AND l.granted
            AND l.pid NOT IN (SELECT v.pid FROM living AS v)
    ) AS strangers,
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
    ) AS with_deletions,
    (
        SELECT
            md5(
                concat_ws(
                    ' ',
                    -- Both the name it had and the name it has now.
                    a,
                    c.relnamespace,
                    c.relname,
                    c.relrowsecurity,
                    c.relforcerowsecurity,
                    c.relacl,
                    (
                        SELECT o.oid
                        FROM pg_class AS o
                        JOIN pg_namespace AS n ON o.relnamespace = n.oid
                        WHERE o.relname = to_jsonb(a) ->> 'table_name' AND n.nspname = to_jsonb(a) ->> 'schema_name'
                    ),
                    ARRAY(
                        SELECT (k.xmin, k.attname, k.atttypid, k.atttypmod, k.attacl)::text
                        FROM pg_attribute AS k
                        WHERE k.attrelid = c.oid AND k.attnum > 0 AND NOT k.attisdropped
                        ORDER BY k.attnum
                    ),
                    ARRAY(
                        SELECT (g.xmin, g.tgname, g.tgenabled)::text
                        FROM pg_trigger AS g
                        WHERE g.tgrelid = c.oid AND g.tgname LIKE 'crm\_sync\_%'
                        ORDER BY g.tgname
                    ),
                    ARRAY(
                        SELECT (r.xmin, r.rulename, r.ev_enabled)::text
                        FROM pg_rewrite AS r
                        WHERE r.ev_class = c.oid AND r.ev_type = '2'
                        ORDER BY r.rulename
                    ),
                    -- Partitions, of partitions too: one that is attached brings rows that no trigger of ours has seen.
                    ARRAY(
                        WITH RECURSIVE part AS (
                            SELECT h.inhrelid FROM pg_inherits AS h WHERE h.inhparent = c.oid
                            UNION ALL
                            SELECT h.inhrelid FROM part AS p JOIN pg_inherits AS h ON p.inhrelid = h.inhparent
                        )

                        SELECT p.inhrelid FROM part AS p ORDER BY p.inhrelid
                    ),
                    ARRAY(
                        SELECT i.indexrelid
                        FROM pg_index AS i
                        WHERE i.indrelid = c.oid AND i.indisunique
                        ORDER BY i.indexrelid
                    )
                )
            )
        FROM crm_sync.adopted AS a
        LEFT JOIN pg_class AS c ON a.contacts = c.oid
    ) AS table_now
