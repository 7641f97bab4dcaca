-- The ids in the CRM of deleted contacts whose rows never got them: deleted in flight, they are only in the history.
--
-- $1  text[]  the keys of their rows
SELECT
    asked.key,
    held.remote_id
FROM unnest($1::text[]) AS asked (key)
CROSS JOIN LATERAL (
    SELECT h.remote_id
    FROM crm_sync.history AS h
    WHERE
        h.key = crm_sync.key_name(asked.key)
        AND h.crm = :'crm'
        AND h.remote_id IS NOT NULL
        -- Under an id of a former account, the CRM has another contact now.
        AND h.at >= coalesce(
            (SELECT l.account_since FROM crm_sync.lanes AS l WHERE l.crm = :'crm'),
            '-infinity'
        )
    ORDER BY h.at DESC
    LIMIT 1
) AS held
