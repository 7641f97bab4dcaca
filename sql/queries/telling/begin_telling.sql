-- A message is about to be sent to its channels. No row: another worker has done so, or is on duty.
--
-- $1  integer      id of the worker on duty
-- $2  bigint       id of the alert
-- $3  text         message
-- $4  integer      tries, as they were read
-- $5  float8       seconds before it is tried again if this worker dies
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
