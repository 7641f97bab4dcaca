-- Claims due tombstones of one CRM, and returns what is to be deleted there.
--
-- A claim of a dead worker does not count, nor does one of this worker, which has none in hand when it claims. But its request may
-- still be in flight, and may delete what is delivered meanwhile. So it is not claimed again for five minutes, like a contact that
-- was deleted in flight.
--
-- $1  integer  at most this many
-- $2  bigint   the claim's fencing token
-- $3  boolean  this claim is the probe
WITH ready AS MATERIALIZED (
    SELECT t.id
    FROM crm_sync.tombstones AS t
    WHERE
        t.crm = :'crm'
        AND t.due_at <= statement_timestamp()
        AND (
            t.claimed_by IS NULL
            OR t.claimed_by >> 32 = $2::bigint >> 32
            OR NOT EXISTS (SELECT FROM crm_sync.living_workers AS w WHERE w.id = t.claimed_by >> 32)
        )
        -- Whether the CRM may be called, and the worker's own registration, as for contacts.
        AND EXISTS (
            SELECT
            FROM crm_sync.lanes AS l
            WHERE
                l.crm = :'crm'
                AND l.held_since IS NULL
                AND (l.breaker = 'closed' OR $3::boolean)
                AND EXISTS (SELECT FROM crm_sync.workers AS w WHERE w.id = $2::bigint >> 32)
        )
    ORDER BY t.due_at
    LIMIT $1::integer
    FOR UPDATE SKIP LOCKED
)

UPDATE crm_sync.tombstones AS t
SET
    attempts = t.attempts + 1,
    due_at = statement_timestamp() + interval '5 minutes',
    claimed_by = $2::bigint
FROM ready AS r
WHERE t.id = r.id
RETURNING
    t.id,
    t.attempts,
    t.contact_id,
    t.remote_id,
    t.email,
    t.policy,
    t.deleted_at,
    statement_timestamp() AS claimed_at
