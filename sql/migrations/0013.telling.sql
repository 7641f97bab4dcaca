-- What people ask of crm-sync, at a cost that is bounded whoever asks and however long: how many contacts are where (status), and why
-- one of them is not in a CRM (why).

-- How many contacts of a CRM are in a state, as last counted: in one pass over the table for all CRMs, by one worker, at most every
-- max(60 s, 100 times its own duration). In between, what workers finish moves the numbers on; flips do not, so a number is as good as
-- its age, which is shown with it.
CREATE TABLE crm_sync.snapshot (
    crm text NOT NULL,
    state text NOT NULL CHECK (
        state IN (
            'new', 'selected', 'skipped',    -- the sync status
            'ready', 'waiting',              -- Queued, due now or later
            'unseen',                        -- Queued, but no trigger saw the flip
            'in flight',                     -- claimed, whatever the sync status is by now
            'complete',
            'error', 'silent',               -- Error, with a reason and without one
            'other'                          -- a state of the table's own, or none
        )
    ),
    contacts bigint NOT NULL,
    latest timestamptz,                      -- delivery of one of them
    at timestamptz NOT NULL,                 -- when the pass began
    took_s float8 NOT NULL,                  -- seconds that it took
    PRIMARY KEY (crm, state)
) WITH (fillfactor = 50);

-- What each living worker says of each lane that it has open, every two seconds while it is at work.
-- Of a worker that does not live, a row says nothing.
CREATE TABLE crm_sync.progress (
    crm text NOT NULL,
    worker integer NOT NULL,
    at timestamptz NOT NULL,
    delivered integer[] NOT NULL,            -- in each of the last 60 seconds before that, the newest first
    delivered_at timestamptz,                -- the latest delivery
    limits text NOT NULL,                    -- of the account, as the setting <CRM>_LIMITS has them
    claims jsonb NOT NULL,                   -- the oldest claims in hand: {token: seconds in hand}
    refused jsonb NOT NULL,                  -- contacts whose rows the table refuses to have written: {key: reason}
    PRIMARY KEY (crm, worker)
) WITH (fillfactor = 50);

-- The pace of each CRM by what its living workers say. delivered_last_minute counts deliveries; delivering_s is how long ago the first
-- of them was.
CREATE VIEW crm_sync.pace AS
SELECT
    p.crm,
    count(DISTINCT p.worker) AS workers,
    coalesce(sum(s.deliveries) FILTER (WHERE s.age_s <= 60), 0)::bigint AS delivered_last_minute,
    max(s.age_s) FILTER (WHERE s.age_s <= 60 AND s.deliveries > 0)::float8 AS delivering_s,
    max(p.delivered_at) AS last_delivered_at
FROM crm_sync.progress AS p
JOIN crm_sync.living_workers AS w ON p.worker = w.id
LEFT JOIN LATERAL (
    SELECT
        d.deliveries,
        extract(EPOCH FROM statement_timestamp() - p.at) + d.second AS age_s
    FROM unnest(p.delivered) WITH ORDINALITY AS d (deliveries, second)
) AS s ON TRUE
GROUP BY p.crm;

-- By it a deleted contact is found.
CREATE INDEX idx_tombstones_contact_id ON crm_sync.tombstones (contact_id);

-- The first column of one CRM that the contacts table does not have, or that this role may not read. No row: all are whole.
CREATE FUNCTION crm_sync.unreadable_column(crm_name text)
RETURNS TABLE (name text, is_there boolean)
LANGUAGE sql
STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT
        c.name,
        a.attnum IS NOT NULL
    FROM crm_sync.lanes AS l
    CROSS JOIN crm_sync.adopted AS d
    CROSS JOIN LATERAL unnest(
        ARRAY[d.key_column::text, l.remote_id_column, 'last_retry_at', 'last_failed_crm'] || ARRAY(
            SELECT l.crm || '_' || o.name
            FROM unnest(
                '{sync_status,processing_status,processing_error,attempts,due_at,claimed_by,synced_at,flipped_at}'::text[]
            ) AS o (name)
        )
    ) AS c (name)
    LEFT JOIN pg_attribute AS a ON a.attrelid = d.contacts AND a.attname = c.name AND NOT a.attisdropped
    WHERE
        l.crm = crm_name
        AND (a.attnum IS NULL OR NOT has_column_privilege(a.attrelid, a.attnum, 'SELECT'))
    LIMIT 1
$$;

-- One pass over the contacts table, for all CRMs whose columns this role can read. Grouped by what the columns say, then put in words, so
-- that a row costs one look into a hash table.
CREATE FUNCTION crm_sync.count_contacts()
RETURNS TABLE (crm text, state text, contacts bigint, latest timestamptz, at timestamptz)
LANGUAGE plpgsql
STABLE
SET search_path = pg_catalog, pg_temp
SET max_parallel_workers_per_gather = 0
AS $$
DECLARE
    statement text;
BEGIN
    SELECT
        format(
            'SELECT s.crm, s.state, sum(g.contacts)::bigint, max(s.latest), statement_timestamp() '
            'FROM (SELECT %s, count(*) AS contacts FROM %s AS c GROUP BY %s) AS g '
            'CROSS JOIN LATERAL (VALUES %s) AS s (crm, state, latest) '
            'GROUP BY s.crm, s.state',
            string_agg(
                format(
                    'c.%1$I AS sync_%2$s, CASE WHEN c.%3$I IS NOT NULL THEN 3 WHEN c.%4$I IS NULL THEN 0 '
                    'WHEN c.%4$I <= statement_timestamp() THEN 1 ELSE 2 END AS place_%2$s, '
                    'c.%5$I IS NULL AS silent_%2$s, '
                    -- One that nobody can mean, no driver can read.
                    'max(c.%6$I) FILTER (WHERE c.%6$I BETWEEN ''1970-01-01'' AND ''9000-01-01'') AS latest_%2$s',
                    l.crm || '_sync_status', l.id, l.crm || '_claimed_by', l.crm || '_due_at', l.crm || '_processing_error',
                    l.crm || '_synced_at'
                ),
                ', '
            ),
            crm_sync.full_name(crm_sync.contacts()),
            string_agg(format('sync_%1$s, place_%1$s, silent_%1$s', l.id), ', '),
            string_agg(
                format(
                    '(%1$L, CASE WHEN g.place_%2$s = 3 THEN ''in flight'' ELSE CASE g.sync_%2$s::text '
                    'WHEN ''Queued'' THEN (''{unseen,ready,waiting}''::text[])[g.place_%2$s + 1] '
                    'WHEN ''Error'' THEN CASE WHEN g.silent_%2$s THEN ''silent'' ELSE ''error'' END '
                    'WHEN ''New'' THEN ''new'' WHEN ''Selected'' THEN ''selected'' WHEN ''Skipped'' THEN ''skipped'' '
                    'WHEN ''Complete'' THEN ''complete'' ELSE ''other'' END END, g.latest_%2$s)',
                    l.crm, l.id
                ),
                ', '
            )
        )
    INTO statement
    FROM crm_sync.lanes AS l
    WHERE l.installed AND NOT EXISTS (SELECT FROM crm_sync.unreadable_column(l.crm));
    IF statement IS NULL THEN
        RETURN;
    END IF;
    RETURN QUERY EXECUTE statement;
    -- An empty table is counted, too.
    IF NOT FOUND THEN
        RETURN QUERY
        SELECT l.crm, 'new', 0::bigint, NULL::timestamptz, statement_timestamp()
        FROM crm_sync.lanes AS l
        WHERE l.installed AND NOT EXISTS (SELECT FROM crm_sync.unreadable_column(l.crm));
    END IF;
END;
$$;

-- Why a contact is, or is not, in the CRMs.

-- Who keeps a row locked or has changed it in a transaction that has not ended: by the row's xmax. NULL: nobody. Whoever only
-- refers to the row, as a foreign key does, keeps nobody from it; where several lock it, those are told apart.
CREATE FUNCTION crm_sync.lock_facts(row_xmax xid)
RETURNS jsonb
LANGUAGE plpgsql
STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    holders xid[] := ARRAY[row_xmax];
BEGIN
    IF row_xmax IS NULL OR row_xmax = '0'::xid THEN
        RETURN NULL;
    END IF;
    -- A row that several lock has a number of all of them, which is no transaction's.
    BEGIN
        IF NOT EXISTS (SELECT FROM pg_locks AS l WHERE l.transactionid = row_xmax AND l.granted) THEN
            holders := ARRAY(SELECT m.xid FROM pg_get_multixact_members(row_xmax) AS m WHERE m.mode <> 'keysh');
        END IF;
    EXCEPTION
        WHEN OTHERS THEN
            RETURN NULL;  -- a transaction that has ended
    END;
    RETURN (
        SELECT
            jsonb_build_object(
                'pid', l.pid,
                'since', coalesce(s.xact_start, p.prepared),
                'application', s.application_name,
                'prepared', p.gid
            )
        FROM pg_locks AS l
        LEFT JOIN LATERAL pg_stat_get_activity(l.pid) AS s ON l.pid IS NOT NULL
        LEFT JOIN pg_prepared_xacts AS p ON l.pid IS NULL AND p.transaction = l.transactionid
        WHERE l.locktype = 'transactionid' AND l.granted AND l.transactionid = ANY (holders)
        LIMIT 1
    );
END;
$$;

-- The schema of the operators that compare a column's values by its indexes: those of an extension's type are in its own.
CREATE FUNCTION crm_sync.operators_of(relation regclass, column_name text)
RETURNS text
LANGUAGE sql
STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT coalesce(
        (
            SELECT quote_ident(n.nspname)
            FROM pg_opclass AS c
            JOIN pg_am AS m ON c.opcmethod = m.oid
            JOIN pg_amop AS e
                ON c.opcfamily = e.amopfamily AND c.opcintype = e.amoplefttype AND c.opcintype = e.amoprighttype AND e.amopstrategy = 3
            JOIN pg_operator AS o ON e.amopopr = o.oid
            JOIN pg_namespace AS n ON o.oprnamespace = n.oid
            WHERE m.amname = 'btree' AND c.opcdefault AND c.opcintype = coalesce(nullif(t.typbasetype, 0), t.oid)
        ),
        'pg_catalog'
    )
    FROM pg_attribute AS a
    JOIN pg_type AS t ON a.atttypid = t.oid
    WHERE a.attrelid = relation AND a.attname = column_name AND NOT a.attisdropped
$$;

-- Where a contact stands in the line of a CRM: how many are served before it, counted as far as 10,000 lines, and beyond by a sample
-- of 200 pages; and how many lines stand behind it that are due, counted as far as 51: with fewer behind it in a backlog, it is a fresh one.
CREATE FUNCTION crm_sync.line_facts(crm_name text, contact_key text, due timestamptz)
RETURNS jsonb
LANGUAGE plpgsql
STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    line text := crm_sync.line(crm_name);
    statement text;
    facts jsonb;
    about bigint;
BEGIN
    IF to_regclass(line) IS NULL THEN
        RETURN jsonb_build_object('has_line', FALSE);
    END IF;
    SELECT
        format(
            $look$
            SELECT jsonb_build_object(
                'has_line', EXISTS (SELECT FROM %1$s AS o WHERE o.due_at = $1 AND o.key::text = $2),
                'before', count(*) FILTER (WHERE c.waits),
                'before_is_all', count(*) <= 10000,
                'behind', (
                    SELECT count(*)
                    FROM (SELECT FROM %1$s AS o WHERE o.due_at > $1 AND o.due_at <= statement_timestamp() LIMIT 51) AS n
                )
            )
            FROM (SELECT o.due_at, o.key FROM %1$s AS o WHERE o.due_at < $1 ORDER BY o.due_at LIMIT 10001) AS l
            LEFT JOIN LATERAL (
                SELECT c.%3$I IS NULL AND c.%4$I::text = 'Queued' AS waits
                FROM %2$s AS c
                WHERE c.%5$I OPERATOR(%6$s.=) l.key AND c.%7$I = l.due_at
                LIMIT 1
            ) AS c ON TRUE
            $look$,
            line,                                            -- 1
            crm_sync.full_name(a.contacts),                  -- 2
            crm_name || '_claimed_by',                       -- 3
            crm_name || '_sync_status',                      -- 4
            a.key_column,                                    -- 5
            crm_sync.operators_of(a.contacts, a.key_column), -- 6
            crm_name || '_due_at'                            -- 7
        )
    INTO STRICT statement
    FROM crm_sync.adopted AS a;
    EXECUTE statement INTO facts USING due, contact_key;
    IF NOT (facts ->> 'before_is_all')::boolean THEN
        EXECUTE format(
            'SELECT (count(*) FILTER (WHERE o.due_at < $1) / s.share)::bigint '
            'FROM (SELECT LEAST(1, 200 * current_setting(''block_size'')::float8 / pg_relation_size(%1$L))) AS s (share) '
            'CROSS JOIN %1$s AS o TABLESAMPLE SYSTEM (100 * LEAST(1, 200 * current_setting(''block_size'')::float8 / pg_relation_size(%1$L))) '
            'GROUP BY s.share',
            line
        )
        INTO about
        USING due;
        facts := facts || jsonb_build_object('before_about', GREATEST(coalesce(about, 0), 10001));
    END IF;
    RETURN facts;
END;
$$;

-- Whether a CRM is delivered to, and why not: what all its contacts wait for.
CREATE FUNCTION crm_sync.lane_facts(crm_name text)
RETURNS jsonb
LANGUAGE sql
STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    WITH living AS MATERIALIZED (
        SELECT w.id FROM crm_sync.living_workers AS w
    )

    SELECT jsonb_build_object(
        'breaker', l.breaker,
        'breaker_since', l.breaker_since,
        'breaker_reason', l.breaker_reason,
        'next_probe_at', l.next_probe_at,
        'openings', l.openings,
        'held_since', l.held_since,
        'held_reason', l.held_reason,
        'fault', CASE WHEN l.fault_worker IN (SELECT v.id FROM living AS v) THEN l.fault END,
        'fault_since', CASE WHEN l.fault_worker IN (SELECT v.id FROM living AS v) THEN l.fault_since END,
        'trigger_is_on', (
            SELECT bool_and(coalesce(g.tgenabled IN ('O', 'A'), FALSE))
            FROM unnest(ARRAY['update', 'insert']) AS t (case_name)
            LEFT JOIN pg_trigger AS g
                ON g.tgrelid = crm_sync.contacts() AND g.tgname = format('crm_sync_%s_%s', l.crm, t.case_name)
        ),
        'workers', (SELECT count(*) FROM living),
        'workers_with_lane', coalesce(p.workers, 0),
        'delivered_last_minute', coalesce(p.delivered_last_minute, 0),
        'delivering_s', p.delivering_s,
        'limits', (SELECT max(r.limits) FROM crm_sync.progress AS r WHERE r.crm = l.crm AND r.worker IN (SELECT v.id FROM living AS v)),
        'budget', (SELECT b.budget FROM crm_sync.budgets AS b WHERE b.crm = l.crm)
    )
    FROM crm_sync.lanes AS l
    LEFT JOIN crm_sync.pace AS p ON p.crm = l.crm
    WHERE l.crm = crm_name
$$;

-- What the table is and is not, of one contact at one CRM: the row, or what is left of it. NULL where this role may not read it.
CREATE FUNCTION crm_sync.row_facts(crm_name text, contact_key text)
RETURNS jsonb
LANGUAGE plpgsql
STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    statement text;
    facts jsonb;
BEGIN
    SELECT
        format(
            $look$
            SELECT jsonb_build_object(
                'key', c.%2$I::text,
                'sync_status', c.%3$I::text,
                'processing_status', c.%4$I::text,
                'error', c.%5$I::text,
                'attempts', c.%6$I,
                'due_at', c.%7$I,
                'claimed_by', c.%8$I,
                'synced_at', c.%9$I,
                'flipped_at', c.%10$I,
                'remote_id', c.%11$I::text,
                'failed_at', CASE WHEN c.last_failed_crm = %12$L THEN c.last_retry_at END,
                'xmax', %16$s,
                'others', (
                    SELECT coalesce(
                        jsonb_agg(
                            jsonb_build_object(
                                'key', o.%2$I::text, 'sync_status', o.%3$I::text, 'flipped_at', o.%10$I, 'synced_at', o.%9$I
                            )
                            ORDER BY o.%9$I DESC NULLS LAST
                        ),
                        '[]'::jsonb
                    )
                    FROM (
                        SELECT t.%2$I, t.%3$I, t.%10$I, t.%9$I
                        FROM %1$s AS t
                        WHERE t.%11$I OPERATOR(%14$s.=) c.%11$I AND t.%11$I IS NOT NULL AND t.%2$I OPERATOR(%13$s.<>) c.%2$I
                        LIMIT 10
                    ) AS o
                )
            )
            FROM %1$s AS c
            WHERE c.%2$I OPERATOR(%13$s.=) $1::%15$s
            LIMIT 1
            $look$,
            crm_sync.full_name(a.contacts),                          -- 1
            a.key_column,                                            -- 2
            crm_name || '_sync_status',                              -- 3
            crm_name || '_processing_status',                        -- 4
            crm_name || '_processing_error',                         -- 5
            crm_name || '_attempts',                                 -- 6
            crm_name || '_due_at',                                   -- 7
            crm_name || '_claimed_by',                               -- 8
            crm_name || '_synced_at',                                -- 9
            crm_name || '_flipped_at',                               -- 10
            l.remote_id_column,                                      -- 11
            crm_name,                                                -- 12
            crm_sync.operators_of(a.contacts, a.key_column),         -- 13
            crm_sync.operators_of(a.contacts, l.remote_id_column),   -- 14
            (
                SELECT format('%I.%I', n.nspname, t.typname)
                FROM pg_attribute AS k
                JOIN pg_type AS t ON k.atttypid = t.oid
                JOIN pg_namespace AS n ON t.typnamespace = n.oid
                WHERE k.attrelid = a.contacts AND k.attname = a.key_column
            ),                                                       -- 15
            CASE WHEN has_column_privilege(a.contacts, 'xmax', 'SELECT') THEN 'c.xmax::text' ELSE 'NULL' END  -- 16
        )
    INTO STRICT statement
    FROM crm_sync.adopted AS a
    CROSS JOIN crm_sync.lanes AS l
    WHERE l.crm = crm_name;
    EXECUTE statement INTO facts USING contact_key;
    RETURN facts;
EXCEPTION
    WHEN data_exception THEN
        RETURN NULL;  -- such a text is no key of this table
END;
$$;

-- The last attempts that history has of a contact at one CRM, the latest first; contact_name: as crm_sync.key_name has it. None where
-- no history is kept, or this role may not read it.
CREATE FUNCTION crm_sync.attempt_facts(crm_name text, contact_name text)
RETURNS jsonb
LANGUAGE plpgsql
STABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF NOT has_table_privilege('crm_sync.deliveries', 'SELECT') THEN
        RETURN '[]'::jsonb;
    END IF;
    RETURN (
        SELECT coalesce(jsonb_agg(to_jsonb(d) ORDER BY d.at DESC), '[]'::jsonb)
        FROM (
            SELECT
                h.at,
                h.operation,
                h.outcome,
                h.code,
                h.reason,
                h.attempt,
                h.took_ms,
                h.status,
                h.request_id,
                h.worker
            FROM crm_sync.deliveries AS h
            WHERE h.key = contact_name AND h.crm = crm_name
            ORDER BY h.at DESC
            LIMIT 5
        ) AS d
    );
END;
$$;

-- What became of a contact at each CRM, and why it is not there: the facts, and what they come to in a word or two. The sentences are
-- crm-sync's own (`crm-sync why`).
--
-- contact_key: the row's key, as text. Reads one row by its key, what stands before it in the line as far as 10,000, and small tables.
CREATE FUNCTION crm_sync.why(contact_key text)
RETURNS TABLE (crm text, verdict text, facts jsonb)
LANGUAGE plpgsql
STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    lane record;
    missing record;
    tombstone crm_sync.tombstones;
    row_facts jsonb;
    line jsonb;
    contact_name text;  -- as the log, history and `crm_sync.progress` have it
    worker_id integer;
    synced timestamptz;
    flipped timestamptz;
    word text;
BEGIN
    FOR lane IN SELECT l.crm FROM crm_sync.lanes AS l WHERE l.installed ORDER BY l.id LOOP
        crm := lane.crm;
        facts := jsonb_build_object('crm', crm, 'key', contact_key, 'now', clock_timestamp(), 'lane', crm_sync.lane_facts(crm));
        SELECT * INTO missing FROM crm_sync.unreadable_column(crm);
        IF FOUND THEN
            verdict := 'misconfigured';
            facts := facts || jsonb_build_object('unreadable', jsonb_build_object('column', missing.name, 'is_there', missing.is_there));
            RETURN NEXT;
            CONTINUE;
        END IF;

        row_facts := crm_sync.row_facts(crm, contact_key);
        IF row_facts IS NULL THEN
            SELECT * INTO tombstone
            FROM crm_sync.tombstones AS t
            WHERE t.contact_id = why.contact_key AND t.crm = why.crm
            ORDER BY t.deleted_at DESC
            LIMIT 1;
            verdict := CASE WHEN FOUND THEN 'deleted' ELSE 'not found' END;
            IF FOUND THEN
                facts := facts || jsonb_build_object(
                    'tombstone',
                    jsonb_build_object(
                        'deleted_at', tombstone.deleted_at,
                        'policy', tombstone.policy,
                        'remote_id', tombstone.remote_id,
                        'due_at', tombstone.due_at,
                        'attempts', tombstone.attempts,
                        'error', tombstone.error,
                        'claimed_by', tombstone.claimed_by
                    )
                );
            END IF;
            RETURN NEXT;
            CONTINUE;
        END IF;

        contact_name := crm_sync.key_name(row_facts ->> 'key');
        facts := facts || jsonb_build_object(
            'attempts', crm_sync.attempt_facts(crm, contact_name),
            'row', row_facts - 'xmax' - 'others',
            'others', row_facts -> 'others',
            'lock', crm_sync.lock_facts((row_facts ->> 'xmax')::xid)
        );
        IF row_facts ->> 'claimed_by' IS NOT NULL THEN
            worker_id := ((row_facts ->> 'claimed_by')::bigint >> 32)::integer;
            facts := facts || jsonb_build_object(
                'worker',
                (
                    SELECT jsonb_build_object(
                        'id', worker_id,
                        'host', w.host,
                        'pid', w.pid,
                        'is_known', w.id IS NOT NULL,
                        'lives', EXISTS (SELECT FROM crm_sync.living_workers AS v WHERE v.id = worker_id),
                        'since', p.at - make_interval(secs => (p.claims ->> (row_facts ->> 'claimed_by'))::float8),
                        'not_before', GREATEST((row_facts ->> 'due_at')::timestamptz, w.started_at)
                    )
                    FROM (VALUES (worker_id)) AS i (id)
                    LEFT JOIN crm_sync.workers AS w ON i.id = w.id
                    LEFT JOIN crm_sync.progress AS p ON p.worker = i.id AND p.crm = why.crm
                )
            );
        END IF;
        word := row_facts ->> 'sync_status';
        IF word = 'Queued' AND row_facts ->> 'due_at' IS NOT NULL AND row_facts ->> 'claimed_by' IS NULL THEN
            facts := facts || jsonb_build_object(
                'line', crm_sync.line_facts(crm, row_facts ->> 'key', (row_facts ->> 'due_at')::timestamptz),
                'refused', (
                    SELECT p.refused ->> contact_name
                    FROM crm_sync.progress AS p
                    JOIN crm_sync.living_workers AS w ON p.worker = w.id
                    WHERE p.crm = why.crm AND p.refused ? contact_name
                    LIMIT 1
                )
            );
        END IF;

        synced := (row_facts ->> 'synced_at')::timestamptz;
        flipped := (row_facts ->> 'flipped_at')::timestamptz;
        verdict := CASE
            WHEN row_facts ->> 'claimed_by' IS NOT NULL THEN 'in flight'
            WHEN word = 'Queued' AND row_facts ->> 'due_at' IS NULL THEN 'unseen'
            WHEN word = 'Queued' AND (row_facts ->> 'due_at')::timestamptz > clock_timestamp() THEN 'waiting'
            WHEN word = 'Queued' THEN 'in line'
            WHEN word = 'Error' THEN 'refused'
            WHEN word IN ('New', 'Selected', 'Skipped') AND flipped > coalesce(synced, '-infinity') THEN 'withdrawn'
            WHEN word IN ('New', 'Selected', 'Skipped') AND synced IS NULL THEN 'never asked for'
            WHEN synced IS NULL THEN 'other'
            WHEN EXISTS (
                SELECT
                FROM jsonb_array_elements(row_facts -> 'others') AS o (other)
                WHERE
                    (o.other ->> 'synced_at')::timestamptz >= synced - interval '1 second'
                    AND (o.other ->> 'flipped_at')::timestamptz > flipped
            ) THEN 'overtaken'
            ELSE 'delivered'
        END;
        RETURN NEXT;
    END LOOP;
END;
$$;

-- A lock of its own: who counts for the snapshot.
DO $comment$
BEGIN
    EXECUTE format(
        'COMMENT ON SCHEMA crm_sync IS %L',
        obj_description('crm_sync'::regnamespace, 'pg_namespace') || ' And 1668443513 who counts all contacts.'
    );
END;
$comment$;
