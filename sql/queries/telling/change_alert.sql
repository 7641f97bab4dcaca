-- Writes what a look found about an alert, unless another worker is on duty.
--
-- $1  integer      id of the worker on duty
-- $2  bigint       id of the alert
-- $3  timestamptz  since
-- $4  timestamptz  first seen
-- $5  timestamptz  seen
-- $6  timestamptz  well since, or NULL
-- $7  timestamptz  raised, or NULL
-- $8  timestamptz  ended, or NULL
-- $9  bigint       contacts
-- $10 text         reason
-- $11 text         message, or NULL
-- $12 timestamptz  when that became the message to send, or NULL
-- $13 text[]       untold
-- $14 text[]       told
-- $15 integer      tries
-- $16 timestamptz  no channel is tried before, or NULL
UPDATE crm_sync.alerts
SET
    since = $3::timestamptz,
    first_seen_at = $4::timestamptz,
    seen_at = $5::timestamptz,
    well_since = $6::timestamptz,
    raised_at = $7::timestamptz,
    ended_at = $8::timestamptz,
    contacts = $9::bigint,
    reason = $10::text,
    message = $11::text,
    message_at = $12::timestamptz,
    untold = $13::text[],
    told = $14::text[],
    tries = $15::integer,
    next_try_at = $16::timestamptz
WHERE
    id = $2::bigint
    AND EXISTS (SELECT FROM crm_sync.alert_duty AS d WHERE d.worker = $1::integer)
RETURNING id
