-- Locks the addresses of a request that is about to start, and returns those that another worker has in flight, and the time. Needed
-- because a CRM may create two records from concurrent requests with one address. The locks belong to the session, so they are
-- released if the worker dies. Locks held by a session that is not a worker are ignored. Always one row.
--
-- $1  text     the CRM
-- $2  text[]   addresses, folded
WITH refused AS MATERIALIZED (
    SELECT
        a.address,
        k.key
    FROM unnest($2::text[]) AS a (address)
    CROSS JOIN LATERAL (SELECT hashtextextended($1::text || ' ' || a.address, :address_seed) AS key) AS k
    WHERE NOT pg_try_advisory_lock(k.key)
)

SELECT
    ARRAY(
        SELECT r.address
        FROM refused AS r
        WHERE
            EXISTS (
                SELECT
                FROM pg_locks AS l
                WHERE
                    l.locktype = 'advisory'
                    AND l.database = (SELECT d.oid FROM pg_database AS d WHERE d.datname = current_database())
                    AND l.objsubid = 1
                    AND l.classid::bigint << 32 | l.objid::bigint = r.key
                    AND l.granted
                    AND l.pid IN (SELECT w.pid FROM crm_sync.living_workers AS w)
            )
    ) AS busy,
    clock_timestamp() AS locked_at
