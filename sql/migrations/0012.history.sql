-- What became of every contact that was sent, what a worker did in each minute, and what happened to lanes and workers.
--
--     history    a line for every outcome, written by the statement that finishes the contact: 1 to 30 days (HISTORY_DAYS)
--     minutes    what each worker has counted in a minute, of each CRM: 90 days
--     events     what happened to lanes and workers, and who did what: 90 days
--
-- No address, no name and nothing that was sent is in any of them.

-- A contact's key as logs and history have it: one with an address in it by the beginning of its SHA-256. As name_of() in
-- worker/crm_sync/core/text.py.
CREATE FUNCTION crm_sync.key_name(key text)
RETURNS text
LANGUAGE sql
STABLE
PARALLEL SAFE
RETURN CASE
    WHEN strpos(key, '@') = 0 AND strpos(key, '%40') = 0 THEN key
    WHEN key ~ '[^\s@<>"''(),;:\[\]]+(@|%40)[^\s@<>"''(),;:\[\]]+'
        THEN 'sha256:' || "left"(encode(sha256(convert_to(key, 'UTF8')), 'hex'), 16)
    ELSE key
END;

-- The slot of a day.
CREATE FUNCTION crm_sync.history_slot(at timestamptz)
RETURNS smallint
LANGUAGE sql
IMMUTABLE
PARALLEL SAFE
RETURN mod((at AT TIME ZONE 'UTC')::date - DATE '1970-01-01', 32)::smallint;

-- A ring of 32 slots, one for each day (the number of the day, by UTC, modulo 32), so that old lines go by emptying a slot: nothing is
-- deleted line by line, and no table is made or dropped at run time. At most 31 slots are kept, so the next day's is always empty.
--
-- The slot is a column, for a statement needs to compute it once only. Narrow columns stand first, so that none is padded. Keys are
-- found, never sorted, so they are compared by their bytes.
CREATE TABLE crm_sync.history (
    at timestamptz NOT NULL,
    waited_ms integer,         -- from the flip until now
    took_ms integer,           -- its request, or all of them where it needed several; NULL: none was made, or it was cut short
    worker integer,            -- who had it in flight
    attempt smallint,          -- claims since the flip, this one among them
    status smallint,           -- HTTP, of the last answer; NULL: there was none
    slot smallint NOT NULL DEFAULT crm_sync.history_slot(clock_timestamp()),
    key text COLLATE "C",      -- the contact's, as crm_sync.key_name has it; NULL: forgotten
    crm text NOT NULL,
    operation text NOT NULL,   -- upsert, delete
    outcome text NOT NULL,     -- delivered, retry, rejected, deferred, orphaned, lost
    code text,                 -- what was wrong, as in the row:
    reason text,               -- CODE: reason
    request_id text,           -- by which the CRM's support finds the last request
    remote_id text,            -- the contact's id in the CRM
    trace text                 -- trace id of the flip (W3C), as the application said it, where traces are on
) PARTITION BY LIST (slot);

-- All lines of one contact.
CREATE INDEX idx_history_key ON crm_sync.history (key);

DO $slots$
BEGIN
    FOR slot IN 0..31 LOOP
        EXECUTE format(
            'CREATE TABLE crm_sync.%1$I PARTITION OF crm_sync.history FOR VALUES IN (%2$s)',
            'history_' || lpad(slot::text, 2, '0'), slot
        );
        -- Under a publication of all tables, no line of a table without one can be forgotten.
        EXECUTE format('ALTER TABLE crm_sync.%I REPLICA IDENTITY FULL', 'history_' || lpad(slot::text, 2, '0'));
    END LOOP;
END;
$slots$;

-- What one worker has counted of one CRM in about a minute. A minute without anything has no row.
CREATE TABLE crm_sync.minutes (
    minute timestamptz NOT NULL,
    crm text NOT NULL,
    worker integer NOT NULL,
    delivered integer NOT NULL DEFAULT 0,
    retried integer NOT NULL DEFAULT 0,
    rejected integer NOT NULL DEFAULT 0,
    deferred integer NOT NULL DEFAULT 0,    -- back in line, nothing having been said of them
    orphaned integer NOT NULL DEFAULT 0,    -- back in line, their worker having died
    lost integer NOT NULL DEFAULT 0,        -- taken over, deleted or given another key while in flight
    deleted integer NOT NULL DEFAULT 0,     -- records of deleted contacts that are deleted in the CRM
    requests integer NOT NULL DEFAULT 0,    -- HTTP
    throttled integer NOT NULL DEFAULT 0,   -- of them, answered with 429
    unrecorded integer NOT NULL DEFAULT 0,  -- outcomes that history lacks, for it could not be written
    latency integer[] NOT NULL,             -- delivered contacts by their time from the flip: crm_sync.latency_bounds()
    codes jsonb NOT NULL DEFAULT '{}',      -- contacts by the code of what was wrong
    PRIMARY KEY (minute, crm, worker)
);

-- The upper bound of each bucket of latency, in seconds. Beyond the last there is one bucket more. As in
-- worker/crm_sync/core/latency.py.
CREATE FUNCTION crm_sync.latency_bounds()
RETURNS float8[]
LANGUAGE sql
IMMUTABLE
PARALLEL SAFE
RETURN ARRAY[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600, 21600, 86400]::float8[];

CREATE TABLE crm_sync.events (
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    id uuid NOT NULL DEFAULT gen_random_uuid(),  -- no sequence: one that is behind after a restore would have events refused
    event text NOT NULL,
    crm text,                                    -- NULL: it concerns all
    actor text NOT NULL,                         -- who: the person's login, or worker 7
    via text NOT NULL,                           -- command, worker, console
    role name NOT NULL DEFAULT session_user,     -- whose word this is, as the database knows him
    worker integer,
    details jsonb NOT NULL DEFAULT '{}',
    PRIMARY KEY (at, id)
);

-- What people and their tools read. The columns of these views stay as they are, and new ones come at the end.

-- A line for every outcome.
CREATE VIEW crm_sync.deliveries AS
SELECT
    h.at,
    h.crm,
    h.key,
    h.operation,
    h.outcome,
    h.code,
    h.reason,
    h.attempt,
    h.waited_ms,
    h.took_ms,
    h.status,
    h.request_id,
    h.remote_id,
    h.worker,
    h.trace
FROM crm_sync.history AS h;

-- By the minute, of all workers together.
CREATE VIEW crm_sync.throughput AS
SELECT
    m.minute,
    m.crm,
    sum(m.delivered) AS delivered,
    sum(m.retried) AS retried,
    sum(m.rejected) AS rejected,
    sum(m.deferred) AS deferred,
    sum(m.orphaned) AS orphaned,
    sum(m.lost) AS lost,
    sum(m.deleted) AS deleted,
    sum(m.requests) AS requests,
    sum(m.throttled) AS throttled
FROM crm_sync.minutes AS m
GROUP BY
    m.minute,
    m.crm;

-- By the minute: contacts by the code of what was wrong.
CREATE VIEW crm_sync.errors_by_code AS
SELECT
    m.minute,
    m.crm,
    c.key AS code,
    sum(c.value::integer) AS contacts
FROM crm_sync.minutes AS m
CROSS JOIN LATERAL jsonb_each_text(m.codes) AS c
GROUP BY
    m.minute,
    m.crm,
    c.key;

-- Empties the slots of days that are kept no longer, and drops what is too old of the minutes and events. It runs as its owner, for a
-- worker has no right to empty a table.
--
-- A slot is emptied when its latest lines are older than is kept: what a clock that went wrong has put into another day's slot stays
-- until then. A slot that somebody reads is left for later. Repeatable, and safe in several workers at once.
--
-- busy: slots that were left. full_slots: those of kept days that still have lines of 32 days before, for no worker was there to drop
-- them; they go with the day's own. missing: slots that are not there, so that the lines of their days cannot be kept.
CREATE FUNCTION crm_sync.tidy_history(
    days integer,
    OUT emptied integer,
    OUT busy integer,
    OUT full_slots integer,
    OUT missing integer
)
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET lock_timeout = '100ms'
AS $$
DECLARE
    cutoff timestamptz;
    slot regclass;
    oldest timestamptz;
BEGIN
    IF days NOT BETWEEN 1 AND 30 THEN
        RAISE EXCEPTION 'history is kept for 1 to 30 days, not for %', days USING ERRCODE = 'invalid_parameter_value';
    END IF;
    cutoff := (((clock_timestamp() AT TIME ZONE 'UTC')::date - days)::timestamp) AT TIME ZONE 'UTC';
    emptied := 0;
    busy := 0;
    full_slots := 0;
    missing := 0;

    FOR number IN 0..31 LOOP
        slot := to_regclass('crm_sync.history_' || lpad(number::text, 2, '0'));
        IF slot IS NULL OR NOT EXISTS (SELECT FROM pg_inherits AS i WHERE i.inhrelid = slot) THEN
            missing := missing + 1;
            CONTINUE;
        END IF;
        IF pg_relation_size(slot) = 0 THEN
            CONTINUE;
        END IF;
        BEGIN
            IF crm_sync.newest_line(slot) >= cutoff THEN
                EXECUTE format('SELECT at FROM %s LIMIT 1', slot) INTO oldest;
                full_slots := full_slots + coalesce(oldest < cutoff, FALSE)::integer;
                CONTINUE;
            END IF;
            EXECUTE format('LOCK TABLE %s IN ACCESS EXCLUSIVE MODE', slot);
            -- Midnight may have come while it waited.
            IF crm_sync.newest_line(slot) < cutoff THEN
                EXECUTE format('TRUNCATE %s', slot);
                emptied := emptied + 1;
            END IF;
        EXCEPTION
            WHEN lock_not_available THEN
                busy := busy + 1;
        END;
    END LOOP;

    -- Some at a time: the rest goes with the next call.
    DELETE FROM crm_sync.minutes AS m
    WHERE
        m.ctid = ANY (
            ARRAY(
                SELECT o.ctid
                FROM crm_sync.minutes AS o
                WHERE o.minute < clock_timestamp() - interval '90 days'
                LIMIT 10000
            )
        );
    DELETE FROM crm_sync.events AS e
    WHERE
        e.ctid = ANY (
            ARRAY(
                SELECT o.ctid
                FROM crm_sync.events AS o
                WHERE o.at < clock_timestamp() - interval '90 days'
                LIMIT 10000
            )
        );
END;
$$;

-- When the latest line of a slot was written: lines are added at its end, so its last pages tell. -infinity where they are empty.
CREATE FUNCTION crm_sync.newest_line(slot regclass)
RETURNS timestamptz
LANGUAGE plpgsql
STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    newest timestamptz;
BEGIN
    EXECUTE format(
        'SELECT coalesce(max(at), ''-infinity'') FROM %s WHERE ctid >= ''(%s,0)''',
        slot, greatest(pg_relation_size(slot) / current_setting('block_size')::bigint - 8, 0)
    ) INTO newest;
    RETURN newest;
END;
$$;

REVOKE ALL ON FUNCTION crm_sync.tidy_history(integer) FROM PUBLIC;
REVOKE ALL ON FUNCTION crm_sync.newest_line(regclass) FROM PUBLIC;
