-- Adds a new alert. Nothing is written if another worker is on duty, or the alert exists already. Only one worker writes, so the
-- next id is the next number.
--
-- $1  integer      id of the worker on duty
-- $2  text         condition
-- $3  text         crm
-- $4  text         code, or ''
-- $5  timestamptz  since
-- $6  timestamptz  this look
-- $7  timestamptz  when it was raised, or NULL
-- $8  bigint       contacts
-- $9  text         reason
-- $10 text[]       the channels that are to be told, if it was raised
INSERT INTO crm_sync.alerts (
    id, condition, crm, code, since, first_seen_at, seen_at, raised_at, contacts, reason, message, message_at, untold, next_try_at
)
SELECT
    (SELECT coalesce(max(a.id), 0) + 1 FROM crm_sync.alerts AS a),
    $2::text,
    $3::text,
    $4::text,
    $5::timestamptz,
    $6::timestamptz,
    $6::timestamptz,
    $7::timestamptz,
    $8::bigint,
    $9::text,
    CASE WHEN $7::timestamptz IS NOT NULL THEN 'raised' END,
    $7::timestamptz,
    $10::text[],
    $7::timestamptz
FROM crm_sync.alert_duty AS d
WHERE d.worker = $1::integer
ON CONFLICT DO NOTHING
RETURNING id
