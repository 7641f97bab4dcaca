-- Ends claims that no living worker has in hand, in one stretch of the contacts table, with their lines, as finish_contacts.sql
-- does for the orphans of a worker. No key goes over the wire, because some claims are lost exactly because a key cannot be read.
-- Returns how many, and how many the application has locked. Each gets a line of history (:history), because its request may have
-- arrived.
--
-- $1  bigint    first page
-- $2  bigint    the page after the last
-- $3  bigint[]  the claims
-- $4  integer   retries: a contact with more attempts is parked in Error
-- $5  text      CODE: reason, for those
-- $6  bigint[]  of these claims the attempt is given back: they failed because of one contact of several
WITH
lost AS MATERIALIZED (
    SELECT :locator AS locator
    FROM :contacts
    WHERE
        ctid >= format('(%s,0)', $1::bigint)::tid
        AND ctid < format('(%s,0)', $2::bigint)::tid
        -- As in claim_contacts.sql, for the table's own triggers.
        AND (SELECT set_config('search_path', :'own_path', TRUE)) IS NOT NULL
        AND :claimed_by = ANY ($3::bigint[])
),

held AS MATERIALIZED (
    SELECT
        :locator AS locator,
        :due_at AS was_due_at,
        :flipped_at AS flipped_at,
        :claimed_by AS claimed_by,
        :attempts AS attempts,
        CASE WHEN :claimed_by = ANY ($6::bigint[]) THEN 1 ELSE 0 END AS given_back,
        CASE :sync_status
            WHEN 'Processing'
                THEN CASE WHEN :attempts > $4::integer AND :claimed_by <> ALL ($6::bigint[]) THEN 'parked' ELSE 'in flight' END
            WHEN 'Queued' THEN 'flipped again'
            ELSE 'withdrawn'
        END AS found
    FROM :contacts
    WHERE
        :locator :locator_is ANY (ARRAY(SELECT l.locator FROM lost AS l))
        AND :claimed_by = ANY ($3::bigint[])
    FOR NO KEY UPDATE SKIP LOCKED
),

released AS (
    UPDATE :contacts AS c
    SET
        :sync_status = CASE h.found WHEN 'parked' THEN 'Error' WHEN 'in flight' THEN 'Queued' ELSE c.:sync_status::text END:::sync_type,
        :processing_status = CASE h.found WHEN 'parked' THEN 'Error' WHEN 'withdrawn' THEN NULL ELSE 'Queued' END:::processing_type,
        :processing_error = CASE h.found
            WHEN 'parked'
                THEN $5::text
            WHEN 'in flight' THEN c.:processing_error::text
        END:::error_type,
        :attempts = CASE h.found WHEN 'flipped again' THEN 0 ELSE c.:attempts - h.given_back END,
        -- Later than before: by this the trigger distinguishes a finish from a stale row.
        :due_at = CASE
            WHEN h.found IN ('in flight', 'flipped again') THEN GREATEST(clock_timestamp(), c.:due_at + interval '1 microsecond')
        END,
        :claimed_by = NULL,
        retry_count = CASE h.found WHEN 'parked' THEN c.:attempts - 1 ELSE c.retry_count END,
        last_retry_at = CASE h.found WHEN 'parked' THEN clock_timestamp() ELSE c.last_retry_at END,
        last_failed_crm = CASE h.found WHEN 'parked' THEN :'crm' ELSE c.last_failed_crm END
    FROM held AS h
    WHERE c.:locator :locator_is h.locator
    RETURNING
        c.:id AS id,
        c.:due_at AS due_at,
        c.:remote_id AS remote_id,
        h.was_due_at,
        h.flipped_at,
        h.claimed_by,
        h.attempts,
        h.found
),

-- As in finish_contacts.sql.
ended AS (
    DELETE FROM :line
    WHERE
        ctid = ANY (
            ARRAY(
                SELECT l.locator
                FROM released AS r
                CROSS JOIN LATERAL (
                    SELECT ctid AS locator
                    FROM :line
                    WHERE
                        due_at = r.was_due_at
                        AND key :is r.id
                    OFFSET 0
                ) AS l
            )
        )
),

joined AS (
    INSERT INTO :line (due_at, key)
    SELECT
        r.due_at,
        r.id
    FROM released AS r
    WHERE r.due_at IS NOT NULL
)

\if :history
, recorded AS (
    INSERT INTO crm_sync.history (at, slot, waited_ms, worker, attempt, key, crm, operation, outcome, code, reason, remote_id)
    SELECT
        m.at,
        crm_sync.history_slot(m.at),
        -- As in finish_contacts.sql.
        LEAST(
            GREATEST(
                (
                    date_part('epoch', clock_timestamp())
                    - date_part('epoch', CASE r.found WHEN 'flipped again' THEN r.was_due_at ELSE r.flipped_at END)
                ) * 1000,
                0
            ),
            2147483647
        ),
        r.claimed_by >> 32,
        LEAST(r.attempts, 32767),
        :key_name (r.id::text),
        :'crm',
        'upsert',
        CASE r.found WHEN 'parked' THEN 'rejected' ELSE 'orphaned' END,
        split_part(p.reason, ':', 1),
        ltrim(substr(p.reason, strpos(p.reason, ':') + 1)),
        crm_sync.key_name(r.remote_id::text)
    FROM released AS r
    CROSS JOIN (SELECT clock_timestamp() AS at OFFSET 0) AS m
    LEFT JOIN (SELECT $5::text AS reason) AS p ON r.found = 'parked'
)
\endif

SELECT
    (SELECT count(*) FROM released) AS released,
    (SELECT count(*) FROM lost) - (SELECT count(*) FROM held) AS locked
