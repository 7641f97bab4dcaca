-- Writes lines of history separately: for contacts whose claim was lost or whose row accepts no write, or because history could
-- not be written together with the finish. A contact with a line for this request is not lost: its finish was applied, and only
-- the answer was lost.
--
-- $1   id[]       the contacts
-- $2   bigint[]   the fencing token of the claim of each
-- $3   text[]     its outcome
-- $4   text[]     CODE: reason, or NULL
-- $5   text[]     its id in the CRM, or NULL
-- $6   integer[]  milliseconds that its request took, -1 or NULL, as in finish_contacts.sql
-- $7   integer[]  the HTTP status of the answer, or NULL
-- $8   text[]     the CRM's id of that request, or NULL
-- $9   text[]     the trace id of its flip, or NULL
-- $10  integer[]  milliseconds since its flip, or NULL
-- $11  integer[]  claims since the flip, or NULL
INSERT INTO crm_sync.history (
    at, slot, waited_ms, took_ms, worker, attempt, status, key, crm, operation, outcome, code, reason, request_id, remote_id, trace
)
SELECT
    m.at,
    crm_sync.history_slot(m.at),
    o.waited_ms,
    NULLIF(o.took_ms, -1),
    o.claimed_by >> 32,
    LEAST(o.attempt, 32767),
    o.status,
    :key_name (o.id::text),
    :'crm',
    :'operation',
    o.kind,
    split_part(o.error, ':', 1),
    ltrim(substr(o.error, strpos(o.error, ':') + 1)),
    o.request_id,
    crm_sync.key_name(o.remote_id),
    o.trace
FROM
    unnest(
        $1:::sent_keys,
        $2::bigint[],
        $3::text[],
        $4::text[],
        $5::text[],
        $6::integer[],
        $7::integer[],
        $8::text[],
        $9::text[],
        $10::integer[],
        $11::integer[]
    ) AS o (id, claimed_by, kind, error, remote_id, took_ms, status, request_id, trace, waited_ms, attempt)
CROSS JOIN (SELECT clock_timestamp() AS at OFFSET 0) AS m
WHERE
    o.kind <> 'lost'
    OR NOT EXISTS (
        SELECT
        FROM crm_sync.history AS h
        WHERE
            h.key = :key_name (o.id::text)
            AND h.crm = :'crm'
            AND h.worker = o.claimed_by >> 32
            AND h.took_ms IS NOT DISTINCT FROM NULLIF(o.took_ms, -1)
            AND h.request_id IS NOT DISTINCT FROM o.request_id
            AND h.at > clock_timestamp() - interval '1 hour'
    )
