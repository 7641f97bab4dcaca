-- Writes the outcomes of claimed contacts back to their rows, and ends their claims. It can be repeated: a finished contact no
-- longer has the claim, so neither a lost answer nor a worker that was taken for dead changes anything.
--
-- It also removes the lines of the due times it ends, and adds those of new ones. And it writes a line of history for each
-- contact (:history), so that history matches what was written, and costs no round trip. Contacts that were only put back,
-- unsent, get none.
--
-- Contacts locked by the application are left out, because the worker never waits for a row lock while it holds another. They are
-- tried again. The lock is as strong as the write (:finish_lock): the strong one if a unique index contains a column that is
-- written here. If it has to wait anyway, because of the table's own trigger or a new index of that kind, it gives up before the
-- application's deadlock_timeout, so that no transaction of the application is ever the victim.
--
-- An array that is shorter than the others, or empty, counts as NULL for the rest.
--
-- $1   id[]       the contacts
-- $2   bigint[]   the fencing token of the claim of each
-- $3   text[]     its outcome: delivered, retry, rejected, deferred, orphaned
-- $4   text[]     CODE: reason, or NULL
-- $5   text[]     its id in the CRM, or NULL
-- $6   float8[]   seconds to wait before it is claimed again; NULL: none
-- $7   integer[]  milliseconds that its request took; -1: it may have been sent, but the time is not known; NULL: it was not sent
-- $8   integer[]  the HTTP status of the answer, or NULL
-- $9   text[]     the CRM's id of that request, or NULL
-- $10  text[]     the trace id of its flip, or NULL
-- $11  bigint     the fencing token of all for which $2 has none: often one value is that of all, and the array is empty
-- $12  text       likewise, for $3
-- $13  integer    likewise, for $7
-- $14  integer    likewise, for $8
-- $15  bigint[]   which of its fields are no longer in the CRM, a bit for each; below zero if the row gets another record with this;
--                 only if fields are emptied (:clears)
-- $16  bigint[]   those of them that this delivery has emptied; with $15
WITH
-- As in claim_contacts.sql.
table_lock AS (
    UPDATE :contacts
    SET :claimed_by = :claimed_by
    WHERE FALSE
),

outcome AS (
    SELECT
        id,
        coalesce(claimed_by, $11::bigint) AS claimed_by,
        coalesce(kind, $12::text) AS kind,
        error,
        remote_id,
        delay_s,
        coalesce(took_ms, $13::integer) AS took_ms,
        coalesce(status, $14::integer) AS status,
        request_id,
        trace
\if :clears
        , gone
        , emptied
\endif
    FROM
        unnest(
            $1:::sent_keys,
            $2::bigint[],
            $3::text[],
            $4::text[],
            $5::text[],
            $6::float8[],
            $7::integer[],
            $8::integer[],
            $9::text[],
            $10::text[]
\if :clears
            , $15::bigint[]
            , $16::bigint[]
\endif
        ) AS o (
            id, claimed_by, kind, error, remote_id, delay_s, took_ms, status, request_id, trace
\if :clears
            , gone, emptied
\endif
        )
),

-- The time of the lines of history, once for all, with the day that it belongs to. The settings are made here, before any row is
-- locked: with the outcomes, they would make Postgres keep a copy of those.
moment AS MATERIALIZED (
    SELECT clock_timestamp() AS at
    -- As in claim_contacts.sql, for the table's own triggers. The timeout applies to the statement, which is a transaction. Table
    -- locks are already held, so it does not apply to them.
    WHERE
        (SELECT set_config('search_path', :'own_path', TRUE)) IS NOT NULL
        AND (SELECT set_config('crm_sync.writes', :'crm', TRUE)) IS NOT NULL
        AND (SELECT set_config('lock_timeout', '300ms', TRUE)) IS NOT NULL
),

-- All transitions out of "in flight". found: what the application has written to the sync status meanwhile. sync: NULL leaves it.
-- due: in line again. attempts: kept, reset, or given back. error: whose text stays.
transition (kind, found, sync, processing, due, attempts, error) AS (
    VALUES
    ('delivered', 'in flight', 'Complete', 'Complete', FALSE, 'kept', 'new'),
    ('delivered', 'flipped again', NULL, 'Queued', TRUE, 'reset', 'none'),
    ('delivered', 'withdrawn', NULL, 'Complete', FALSE, 'kept', 'new'),
    ('retry', 'in flight', 'Queued', 'Queued', TRUE, 'kept', 'new'),
    ('retry', 'flipped again', NULL, 'Queued', TRUE, 'reset', 'new'),
    ('retry', 'withdrawn', NULL, NULL, FALSE, 'kept', 'none'),
    ('rejected', 'in flight', 'Error', 'Error', FALSE, 'kept', 'new'),
    ('rejected', 'flipped again', NULL, 'Queued', TRUE, 'reset', 'none'),
    ('rejected', 'withdrawn', NULL, 'Error', FALSE, 'kept', 'new'),
    ('deferred', 'in flight', 'Queued', 'Queued', TRUE, 'given back', 'old'),
    ('deferred', 'flipped again', NULL, 'Queued', TRUE, 'reset', 'none'),
    ('deferred', 'withdrawn', NULL, NULL, FALSE, 'given back', 'none'),
    ('orphaned', 'in flight', 'Queued', 'Queued', TRUE, 'kept', 'old'),
    ('orphaned', 'flipped again', NULL, 'Queued', TRUE, 'reset', 'none'),
    ('orphaned', 'withdrawn', NULL, NULL, FALSE, 'kept', 'none')
),

-- The fence, and the locks. LATERAL, so that each contact is looked up by its key, whatever the planner thinks of the table.
held AS (
    SELECT
        c.*,
        o.id,
        o.claimed_by,
        o.kind,
        o.error,
        o.remote_id,
        o.delay_s,
        o.took_ms,
        o.status,
        o.request_id,
        o.trace,
        -- Of each, so that hardly any two have the same place in line.
        clock_timestamp() AS at
\if :clears
        , o.gone
        , o.emptied
\endif
    FROM outcome AS o
    CROSS JOIN LATERAL (
        SELECT
            :locator AS locator,
            :attempts AS attempts,
            :due_at AS due_at,
            :flipped_at AS flipped_at,
            :synced_at AS synced_at,
            :processing_error AS old_error,
            CASE :sync_status
                WHEN 'Processing' THEN 'in flight'
                WHEN 'Queued' THEN 'flipped again'
                ELSE 'withdrawn'
            END AS found,
            -- Flipped again only by a trigger of the table, because it was claimed.
            :sync_status = 'Queued' AND starts_with(:processing_error::text, 'TRIGGER_LOOP:') AS is_in_loop
        FROM :contacts
        WHERE
            :id :is o.id
            AND :claimed_by = o.claimed_by
            -- Without one, its column was dropped and put back, and the trigger would take this for a stale row: see place_claimed.sql.
            AND :due_at IS NOT NULL
        FOR :finish_lock SKIP LOCKED
    ) AS c
    WHERE (SELECT m.at FROM moment AS m) IS NOT NULL
),

-- The new values, because the roll-up is computed from them. Nothing here is volatile, because Postgres would keep a copy of them.
finished AS (
    SELECT
        h.locator,
        h.claimed_by,
        h.kind,
        h.error AS said,
        h.remote_id,
        h.due_at AS was_due_at,
        h.attempts AS attempt,
        -- A later flip has its own trace id: this claim's flip was due no later than this. One that was delivered since its flip and
        -- was sent once more (keep_flip_times.sql) has waited since it was due.
        CASE
            WHEN h.found = 'flipped again' OR (h.flipped_at <= h.synced_at AND h.synced_at < h.due_at) THEN h.due_at
            ELSE h.flipped_at
        END AS flipped_at,
        h.took_ms,
        h.status,
        h.request_id,
        h.trace,
\if :clears
        -- Flipped again, perhaps because an earlier request arrived after this one: what was emptied is emptied once more.
        CASE WHEN h.kind = 'delivered' AND h.found = 'flipped again' THEN h.gone & ~h.emptied ELSE h.gone END AS gone,
\endif
        h.at,
        t.sync,
        t.processing,
        CASE
            WHEN t.attempts = 'kept' OR h.is_in_loop THEN h.attempts
            WHEN t.attempts = 'given back' THEN h.attempts - 1
            ELSE 0
        END AS attempts,
        CASE
            WHEN t.error = 'new' THEN h.error
            WHEN t.error = 'old' OR (h.is_in_loop AND h.attempts >= 3) THEN h.old_error
        END AS error,
        -- Later than before, in case the clock was set back: by this the trigger distinguishes a finish from a stale row.
        CASE
            WHEN t.due
                THEN GREATEST(
                    h.at + make_interval(secs => coalesce(h.delay_s, 0)),
                    h.due_at + interval '1 microsecond',
                    -- As crm_sync.loop_pause has it, which no worker has to be let use.
                    CASE
                        WHEN h.is_in_loop AND h.attempts > 1
                            THEN h.at + make_interval(secs => LEAST(2.0 ^ (LEAST(h.attempts, 20) - 2), 300))
                    END
                )
        END AS due_at
    FROM held AS h
    JOIN transition AS t ON h.kind = t.kind AND h.found = t.found
),

written AS (
    UPDATE :contacts AS c
    SET
        :sync_status = coalesce(f.sync:::sync_type, c.:sync_status),
        :processing_status = f.processing:::processing_type,
        :processing_error = f.error:::error_type,
        :remote_id = coalesce(f.remote_id:::remote_type, c.:remote_id),
        :attempts = f.attempts,
        :due_at = f.due_at,
        :claimed_by = NULL,
\if :clears
        :sent_fields = c.:sent_fields & ~f.gone,
        -- It goes on being about the record that the row has, unless that was another before.
        :sent_to = CASE
            WHEN c.:sent_to = :'numbering' || coalesce(c.:remote_id::text, '')
                THEN :'numbering' || coalesce((coalesce(f.remote_id:::remote_type, c.:remote_id))::text, '')
            ELSE c.:sent_to
        END,
\endif
        :synced_at = CASE WHEN f.kind = 'delivered' THEN clock_timestamp() ELSE c.:synced_at END,
        retry_count = CASE
            WHEN f.kind = 'retry' THEN c.:attempts
            WHEN f.kind = 'rejected' THEN c.:attempts - 1
            WHEN f.kind = 'delivered' AND c.last_failed_crm = :'crm' THEN 0
            ELSE c.retry_count
        END,
        last_retry_at = CASE WHEN f.kind IN ('retry', 'rejected') THEN clock_timestamp() ELSE c.last_retry_at END,
        next_retry_at = CASE
            WHEN f.kind = 'retry' OR c.next_retry_at IS NOT NULL
                THEN LEAST(CASE WHEN f.error IS NOT NULL THEN f.due_at END, :other_retries)
        END,
        last_failed_crm = CASE
            WHEN f.kind IN ('retry', 'rejected') THEN :'crm'
            WHEN f.kind = 'delivered' AND c.last_failed_crm = :'crm' THEN NULL
            ELSE c.last_failed_crm
        END
    FROM finished AS f
    WHERE c.:locator :locator_is f.locator
    RETURNING
        c.:id AS id,
        c.:due_at AS due_at,
        c.:remote_id AS remote_id,
        f.was_due_at,
        f.claimed_by,
        f.kind,
        f.said,
        f.attempt,
        f.took_ms,
        f.status,
        f.request_id,
        f.trace,
        -- What a trigger of the table has taken back of this write, by the names of its columns.
        NULLIF(
            concat_ws(
                ', ',
                CASE WHEN c.:claimed_by IS NOT NULL THEN :'claimed_by_name' END,
                CASE WHEN c.:sync_status = 'Processing' THEN :'sync_status_name' END,
                CASE
                    WHEN f.due_at IS NULL AND c.:due_at IS NOT NULL AND c.:sync_status <> 'Queued' THEN :'due_at_name'
                END,
                CASE
                    WHEN f.remote_id IS NOT NULL AND (c.:remote_id :remote_is f.remote_id:::remote_type) IS NOT TRUE
                        THEN :'remote_id_name'
                END
            ),
            ''
        ) AS undone,
        -- date_part, because extract returns a numeric. Of each time by itself, because Postgres 16 subtracts no infinite one.
        LEAST(
            GREATEST((date_part('epoch', f.at) - date_part('epoch', f.flipped_at)) * 1000, 0), 2147483647
        )::integer AS waited_ms
),

-- LATERAL, so that each line is looked up by its due time.
ended AS (
    DELETE FROM :line
    WHERE
        ctid = ANY (
            ARRAY(
                SELECT l.locator
                FROM written AS w
                CROSS JOIN LATERAL (
                    SELECT ctid AS locator
                    FROM :line
                    WHERE
                        due_at = w.was_due_at
                        AND key :is w.id
                    OFFSET 0
                ) AS l
            )
        )
),

joined AS (
    INSERT INTO :line (due_at, key)
    SELECT
        w.due_at,
        w.id
    FROM written AS w
    WHERE w.due_at IS NOT NULL
)

\if :history
, recorded AS (
    INSERT INTO crm_sync.history (
        at, slot, waited_ms, took_ms, worker, attempt, status, key, crm, operation, outcome, code, reason, request_id, remote_id, trace
    )
    SELECT
        (SELECT m.at FROM moment AS m),
        (SELECT crm_sync.history_slot(m.at) FROM moment AS m),
        w.waited_ms,
        NULLIF(w.took_ms, -1),
        w.claimed_by >> 32,
        LEAST(w.attempt, 32767),
        w.status,
        :key_name (w.id::text),
        :'crm',
        'upsert',
        w.kind,
        split_part(w.said, ':', 1),
        ltrim(substr(w.said, strpos(w.said, ':') + 1)),
        w.request_id,
        crm_sync.key_name(w.remote_id::text),
        w.trace
    FROM written AS w
    WHERE
        (w.kind <> 'deferred' OR w.took_ms IS NOT NULL OR w.said IS NOT NULL)
        AND (:history_of_all OR w.kind <> 'delivered' OR w.said IS NOT NULL)
)
\endif

-- Those that a trigger of the table has kept from being written: it returned NULL, so Postgres left the row as it was. A row that
-- somebody else wrote after this statement began is left out: its new version is locked, but this statement does not see it.
, kept AS (
    SELECT h.id
    FROM held AS h
    WHERE
        (SELECT count(*) FROM held) > (SELECT count(*) FROM written)
        AND NOT EXISTS (SELECT FROM written AS w WHERE w.id :is h.id)
        AND EXISTS (SELECT FROM :contacts WHERE :locator :locator_is h.locator OFFSET 0)
)

SELECT
    w.id:as_read AS id,
    date_part('epoch', w.due_at) - date_part('epoch', clock_timestamp()) AS due_in_s,
    w.waited_ms,
    w.undone,
    TRUE AS is_written
FROM written AS w
UNION ALL
SELECT
    k.id:as_read,
    NULL,
    NULL,
    NULL,
    FALSE
FROM kept AS k
