-- Whether contacts of one CRM are ready in line while a worker is alive. As in find_ready.sql, the line says where to look, and
-- the row decides; several are examined, because the line can lag behind.
SELECT
    EXISTS (
        SELECT
        FROM (
            SELECT
                key,
                due_at
            FROM :line
            WHERE due_at <= statement_timestamp()
            ORDER BY due_at
            LIMIT 100
        ) AS l
        CROSS JOIN LATERAL (
            SELECT
            FROM :contacts
            WHERE
                :id :is l.key
                AND :due_at = l.due_at
                AND :claimed_by IS NULL
                AND :sync_status = 'Queued'
            LIMIT 1
        ) AS c
    )
    AND EXISTS (SELECT FROM crm_sync.living_workers) AS is_ready
