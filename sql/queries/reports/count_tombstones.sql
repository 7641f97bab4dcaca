-- The policy for deleted contacts in one CRM, and the deletions still to be made there: in line or in flight, and given up.
-- Counted up to 10,001 of each. The reason is from the one deleted last.
SELECT
    l.on_delete,
    w.contacts AS deletions_waiting,
    f.contacts AS deletions_failed,
    CASE WHEN w.deleted_at > f.deleted_at THEN coalesce(w.error, f.error) ELSE coalesce(f.error, w.error) END AS deletion_error
FROM crm_sync.lanes AS l
CROSS JOIN LATERAL (
    SELECT
        count(*) AS contacts,
        (array_agg(t.error ORDER BY t.deleted_at DESC) FILTER (WHERE t.error IS NOT NULL))[1] AS error,
        max(t.deleted_at) FILTER (WHERE t.error IS NOT NULL) AS deleted_at
    FROM (
        SELECT t.error, t.deleted_at FROM crm_sync.tombstones AS t WHERE t.crm = l.crm AND t.due_at IS NOT NULL LIMIT 10001
    ) AS t
) AS w
CROSS JOIN LATERAL (
    SELECT
        count(*) AS contacts,
        (array_agg(t.error ORDER BY t.deleted_at DESC) FILTER (WHERE t.error IS NOT NULL))[1] AS error,
        max(t.deleted_at) FILTER (WHERE t.error IS NOT NULL) AS deleted_at
    FROM (
        SELECT t.error, t.deleted_at FROM crm_sync.tombstones AS t WHERE t.crm = l.crm AND t.due_at IS NULL LIMIT 10001
    ) AS t
) AS f
WHERE l.crm = :'crm'
