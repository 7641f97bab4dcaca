-- The result of sending a message: these channels were told. Can be repeated.
--
-- $1  bigint   id of the alert
-- $2  text     message
-- $3  text[]   channels that were told
-- $4  float8   seconds before the others are tried again
UPDATE crm_sync.alerts
SET
    untold = ARRAY(SELECT u.name FROM unnest(untold) AS u (name) WHERE u.name <> ALL ($3::text[])),
    told = ARRAY(SELECT DISTINCT t.name FROM unnest(told || $3::text[]) AS t (name) ORDER BY t.name),
    next_try_at = clock_timestamp() + make_interval(secs => $4::float8)
WHERE
    id = $1::bigint
    AND message = $2::text
