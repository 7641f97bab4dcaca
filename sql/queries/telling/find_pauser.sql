-- Who gave the reason for a CRM's current manual pause.
--
-- $1  text         crm
-- $2  timestamptz  since when it is paused
SELECT e.actor
FROM crm_sync.events AS e
WHERE
    e.crm = $1::text
    AND e.event = 'lane_held'
    AND e.at >= $2::timestamptz
ORDER BY e.at DESC
LIMIT 1
