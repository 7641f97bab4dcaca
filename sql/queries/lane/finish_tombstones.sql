-- Ends claims of tombstones. Delivered: gone, with all personal data in it. To retry, or not sent: due again. Rejected: stays,
-- with its reason, for a person. Repeatable, and fenced by the claim as finish_contacts.sql is.
--
-- $1  bigint[]  the tombstones
-- $2  bigint[]  the fencing token of the claim of each
-- $3  text[]    its outcome: delivered, retry, rejected, deferred
-- $4  text[]    CODE: reason, or NULL
-- $5  float8[]  seconds to wait before it is claimed again
WITH outcome AS (
    SELECT
        id,
        claimed_by,
        kind,
        error,
        make_interval(secs => delay_s) AS delay
    FROM
        unnest(
            $1::bigint[], $2::bigint[], $3::text[], $4::text[], $5::float8[]
        ) AS o (id, claimed_by, kind, error, delay_s)
),

delivered AS (
    DELETE FROM crm_sync.tombstones AS t
    USING outcome AS o
    WHERE
        t.id = o.id
        AND t.claimed_by = o.claimed_by
        AND o.kind = 'delivered'
    RETURNING t.id
),

kept AS (
    UPDATE crm_sync.tombstones AS t
    SET
        due_at = CASE WHEN o.kind <> 'rejected' THEN clock_timestamp() + o.delay END,
        attempts = CASE WHEN o.kind = 'deferred' THEN t.attempts - 1 ELSE t.attempts END,
        error = coalesce(o.error, t.error),
        claimed_by = NULL
    FROM outcome AS o
    WHERE
        t.id = o.id
        AND t.claimed_by = o.claimed_by
        AND o.kind <> 'delivered'
    RETURNING t.id
)

SELECT id
FROM delivered
UNION ALL
SELECT id
FROM kept
