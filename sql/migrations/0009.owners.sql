-- Who owns what workers share. Advisory locks can be taken by any role that may connect, and Postgres asks for no right. So what is
-- held stands in tables that only a worker's role may write to, and the lock that says "this worker lives" counts only where a
-- worker holds it.

-- Should the sequence come to its end, it begins anew: an id that is in use is stepped over.
ALTER TABLE crm_sync.workers
    ALTER COLUMN id SET CYCLE,
    ADD COLUMN backend_pid integer,          -- its session: the process in the server,
    ADD COLUMN backend_start timestamptz;    -- and when that began

-- The workers that live, and their sessions. A lock of another session than the registered one is nobody's word. Of a worker that is
-- not registered, or whose session this role may not see, the role's right to register tells it from a stranger.
CREATE VIEW crm_sync.living_workers AS
SELECT
    l.objid::integer AS id,
    l.pid
FROM pg_locks AS l
CROSS JOIN LATERAL pg_stat_get_activity(l.pid) AS s
LEFT JOIN crm_sync.workers AS w ON l.objid = w.id::oid
WHERE
    l.locktype = 'advisory'
    AND l.database = (SELECT d.oid FROM pg_database AS d WHERE d.datname = current_database())
    AND l.classid = 1668443499
    AND l.objsubid = 2
    AND l.granted
    AND CASE
        WHEN w.backend_pid <> l.pid THEN FALSE
        WHEN s.backend_start = w.backend_start THEN TRUE
        ELSE has_any_column_privilege(s.usesysid, 'crm_sync.workers'::regclass, 'INSERT')
    END;

-- A worker of an older version does not say which session it is. It knows neither permits nor keepers, and would leave lines behind:
-- it is refused as it registers, in words that its log repeats. What a person or a restore writes is no worker's, who has its lock.
CREATE FUNCTION crm_sync.refuse_older_worker()
RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF NEW.backend_pid IS NULL AND EXISTS (
        SELECT FROM pg_locks AS l
        WHERE
            l.locktype = 'advisory'
            AND l.database = (SELECT d.oid FROM pg_database AS d WHERE d.datname = current_database())
            AND l.classid = 1668443499
            AND l.objid = NEW.id::oid
            AND l.objsubid = 2
            AND l.granted
            AND l.pid = pg_backend_pid()
    ) THEN
        RAISE EXCEPTION 'this worker is of an older version of crm-sync (%) than its database: install the one that migrated it',
            NEW.version
            USING ERRCODE = 'undefined_object';
    END IF;
    RETURN NEW;
END;
$$;

CREATE TRIGGER refuse_older_worker BEFORE INSERT ON crm_sync.workers
FOR EACH ROW EXECUTE FUNCTION crm_sync.refuse_older_worker();

-- The keeper of a lane answers for its bell, as long as it lives.
ALTER TABLE crm_sync.lanes ADD COLUMN keeper integer;

-- Permits for requests at a time: all workers together have so many of a lane. One whose worker is dead is free.
CREATE TABLE crm_sync.permits (
    lane integer NOT NULL REFERENCES crm_sync.lanes (id) ON DELETE CASCADE,
    number integer NOT NULL,
    worker integer NOT NULL,
    PRIMARY KEY (lane, number)
);

COMMENT ON SCHEMA crm_sync IS
'Machinery of crm-sync. Advisory locks, all by (key, id): 1668443496 who migrates or adopts, 1668443497 the bell of a lane, '
'1668443499 a living worker. By one key, a hash seeded with 1668443500: an address in a request.';
