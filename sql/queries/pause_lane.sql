-- The CRM said "too many requests": nobody calls it before this time. A longer pause that stands is kept.
--
-- $1  text    crm
-- $2  float8  seconds from now
UPDATE crm_sync.lanes
SET paused_until = GREATEST(paused_until, clock_timestamp() + make_interval(secs => $2::float8))
WHERE crm = $1::text
