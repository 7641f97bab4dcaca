-- The largest partition of the contacts table, or the table itself: what is read there for a moment says how fast this server reads.
SELECT crm_sync.full_name(relation) AS name
FROM crm_sync.parts()
WHERE is_leaf
ORDER BY pg_relation_size(relation) DESC
LIMIT 1
