-- The keys of deleted contacts with an address, ignoring case and surrounding whitespace, whose deletion is still to be sent to a
-- CRM: the latest of them.
--
-- $1  text  the address
SELECT
    t.contact_id AS id,
    max(t.deleted_at) AS deleted_at
FROM crm_sync.tombstones AS t
WHERE lower(btrim(t.email, E' \t\n\r\f\x0b')) = lower(btrim($1::text, E' \t\n\r\f\x0b'))
GROUP BY t.contact_id
ORDER BY 2 DESC
LIMIT 10
