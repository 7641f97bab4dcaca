-- Ends claims of tombstones. Delivered: the tombstone is deleted, with all personal data in it. To retry, or not sent: due again.
-- Rejected: stays, with its reason, for a person. Can be repeated, and is fenced by the claim like finish_contacts.sql.
--
-- attempts: one that was not sent is given back. Of one that may have reached the CRM without a verdict, as in an outage, the first
-- is kept: above zero, the record may be gone.
--
-- It also writes a line of history for each, as for contacts (:history). If a contact is erased, its key is removed from existing
-- lines for all CRMs, whether new ones are written (:history_lines) or not.
--
-- $1  bigint[]   the tombstones
-- $2  bigint[]   the fencing token of the claim of each
-- $3  text[]     its outcome: delivered, retry, rejected, deferred
-- $4  text[]     CODE: reason, or NULL
-- $5  float8[]   seconds to wait before it is claimed again
-- $6  integer[]  milliseconds that its request took, -1 or NULL, as in finish_contacts.sql
-- $7  integer[]  the HTTP status of the answer, or NULL
-- $8  text[]     the CRM's id of that request, or NULL
-- $9  boolean[]  whether a request may have reached the CRM
WITH outcome AS (
    SELECT
        id,
        claimed_by,
        kind,
        error,
        make_interval(secs => delay_s) AS delay,
        took_ms,
        status,
        request_id,
        is_sent
    FROM
        unnest(
            $1::bigint[],
            $2::bigint[],
            $3::text[],
            $4::text[],
            $5::float8[],
            $6::integer[],
            $7::integer[],
            $8::text[],
            $9::boolean[]
        ) AS o (id, claimed_by, kind, error, delay_s, took_ms, status, request_id, is_sent)
),

delivered AS (
    DELETE FROM crm_sync.tombstones AS t
    USING outcome AS o
    WHERE
        t.id = o.id
        AND t.claimed_by = o.claimed_by
        AND o.kind = 'delivered'
    RETURNING
        t.id,
        t.contact_id,
        t.remote_id,
        t.policy = 'erase' AS is_erased,
        t.deleted_at,
        t.attempts
),

kept AS (
    UPDATE crm_sync.tombstones AS t
    SET
        due_at = CASE WHEN o.kind <> 'rejected' THEN clock_timestamp() + o.delay END,
        attempts = CASE
            WHEN o.kind <> 'deferred' THEN t.attempts
            WHEN o.is_sent THEN GREATEST(t.attempts - 1, 1)
            ELSE t.attempts - 1
        END,
        error = coalesce(o.error, t.error),
        claimed_by = NULL
    FROM outcome AS o
    WHERE
        t.id = o.id
        AND t.claimed_by = o.claimed_by
        AND o.kind <> 'delivered'
    RETURNING
        t.id,
        t.contact_id,
        t.remote_id,
        FALSE AS is_erased,
        t.deleted_at,
        CASE WHEN o.kind = 'deferred' AND NOT o.is_sent THEN t.attempts + 1 ELSE t.attempts END AS attempts
),

finished AS (
    SELECT *
    FROM delivered
    UNION ALL
    SELECT *
    FROM kept
)

\if :history
, recorded AS (
    INSERT INTO crm_sync.history (
        at, slot, waited_ms, took_ms, worker, attempt, status, key, crm, operation, outcome, code, reason, request_id, remote_id
    )
    SELECT
        m.at,
        crm_sync.history_slot(m.at),
        LEAST(GREATEST(date_part('epoch', clock_timestamp() - f.deleted_at) * 1000, 0), 2147483647),
        NULLIF(o.took_ms, -1),
        o.claimed_by >> 32,
        LEAST(f.attempts, 32767),
        o.status,
        CASE WHEN NOT f.is_erased THEN crm_sync.key_name(f.contact_id) END,
        :'crm',
        'delete',
        o.kind,
        split_part(o.error, ':', 1),
        ltrim(substr(o.error, strpos(o.error, ':') + 1)),
        CASE WHEN NOT f.is_erased THEN o.request_id END,
        CASE WHEN NOT f.is_erased THEN crm_sync.key_name(f.remote_id) END
    FROM finished AS f
    JOIN outcome AS o ON f.id = o.id
    CROSS JOIN (SELECT clock_timestamp() AS at OFFSET 0) AS m
    WHERE
        :history_lines
        AND (o.kind <> 'deferred' OR o.took_ms IS NOT NULL OR o.error IS NOT NULL)
        AND (:history_of_all OR o.kind <> 'delivered' OR o.error IS NOT NULL)
),

-- As in forget_contact.sql. By a list, so that each is looked up by its key.
forgotten AS (
    UPDATE crm_sync.history
    SET
        key = NULL,
        reason = NULL,
        request_id = NULL,
        remote_id = NULL,
        trace = NULL
    WHERE key = ANY (ARRAY(SELECT crm_sync.key_name(d.contact_id) FROM delivered AS d WHERE d.is_erased))
)
\endif

SELECT f.id
FROM finished AS f
