-- How many contacts of one CRM are in line and are due, and since when the first of them. Bounded: ten thousand lines are
-- counted, and of the first thousand it is looked up whether they stand for a contact that waits. One in flight does not.
SELECT
    (
        SELECT count(*)
        FROM (SELECT FROM :line AS n WHERE n.due_at <= clock_timestamp() LIMIT 10001) AS due
    ) AS due,
    (
        SELECT min(n.due_at)
        FROM (
            SELECT
                b.key,
                b.due_at
            FROM :line AS b
            WHERE b.due_at <= clock_timestamp()
            ORDER BY b.due_at
            LIMIT 1000
        ) AS n
        WHERE EXISTS (
            SELECT
            FROM :contacts
            WHERE
                :id :is n.key
                AND :due_at = n.due_at
                AND :claimed_by IS NULL
                AND :sync_status = 'Queued'
        )
    ) AS oldest
