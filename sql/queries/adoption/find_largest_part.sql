-- The largest partition of the contacts table, or the table itself: it is read for a moment to measure how fast this server
-- reads.
SELECT crm_sync.full_name(relation) AS name
FROM crm_sync.parts()
WHERE is_leaf
ORDER BY pg_relation_size(relation) DESC
LIMIT 1
