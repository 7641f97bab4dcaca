-- The newest flip that was sent in a lane, by any worker; a little later than that, or NULL if none was.
--
-- $1  text  crm
SELECT l.newest_sent
FROM crm_sync.lanes AS l
WHERE l.crm = $1::text
