-- A message is about to be handed to its channels. No row: another worker has done so, or it is its turn.
--
-- $1  integer      id of the worker whose turn it is
-- $2  bigint       id of the alert
-- $3  text         message
-- $4  integer      tries, as they were read
-- $5  float8       seconds before it is tried again, should this worker die
UPDATE crm_sync.alerts
SET
    tries = tries + 1,
    next_try_at = clock_timestamp() + make_interval(secs => $5::float8)
WHERE
    id = $2::bigint
    AND message = $3::text
    AND tries = $4::integer
    AND EXISTS (SELECT FROM crm_sync.alert_duty AS d WHERE d.worker = $1::integer)
RETURNING id
