-- Notes the newest flip that was sent in a lane, unless a later one is noted. The row is not waited for, because outcomes wait for
-- this: if it is locked, there is no row, and it is noted with the next outcomes.
--
-- $1  text         crm
-- $2  timestamptz  the flip
UPDATE crm_sync.lanes AS l
SET newest_sent = GREATEST(l.newest_sent, $2::timestamptz)
WHERE
    l.crm = (
        SELECT o.crm
        FROM crm_sync.lanes AS o
        WHERE o.crm = $1::text
        FOR NO KEY UPDATE SKIP LOCKED
    )
RETURNING l.newest_sent
