-- What becomes of deleted contacts at one CRM, and those whose record there is still to be deleted: in line or in flight, and
-- given up. The reason is that of the one deleted last.
SELECT
    l.on_delete,
    count(t.id) FILTER (WHERE t.due_at IS NOT NULL) AS deletions_waiting,
    count(t.id) FILTER (WHERE t.id IS NOT NULL AND t.due_at IS NULL) AS deletions_failed,
    (array_agg(t.error ORDER BY t.deleted_at DESC) FILTER (WHERE t.error IS NOT NULL))[1] AS deletion_error
FROM crm_sync.lanes AS l
LEFT JOIN crm_sync.tombstones AS t ON l.crm = t.crm
WHERE l.crm = :'crm'
GROUP BY l.on_delete
