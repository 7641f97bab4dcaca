-- How many contacts of one CRM are in line and due, and since when the first of them has been waiting. Bounded: ten thousand
-- lines are counted. For the first thousand and the last hundred, where contacts put back unsent are, it is checked whether the
-- contact is waiting. A contact in flight is not.
--
-- Waiting starts at the flip, or after a failure when the retry is due, as in count_line.sql. One that was delivered since its flip
-- and is sent once more (keep_flip_times.sql) waits since it is due. This is meaningful only while the CRM may be called.
WITH
due AS (
    (
        SELECT
            b.key,
            b.due_at
        FROM :line AS b
        WHERE b.due_at <= clock_timestamp()
        ORDER BY b.due_at
        LIMIT 1000
    )
    UNION ALL
    (
        SELECT
            e.key,
            e.due_at
        FROM :line AS e
        WHERE e.due_at <= clock_timestamp()
        ORDER BY e.due_at DESC
        LIMIT 100
    )
)

SELECT
    (
        SELECT count(*)
        FROM (SELECT FROM :line AS n WHERE n.due_at <= clock_timestamp() LIMIT 10001) AS n
    ) AS due,
    (
        -- Drivers cannot read any time that somebody may have written.
        SELECT min(GREATEST(c.waits_since, '1970-01-01'))
        FROM due AS d
        CROSS JOIN LATERAL (
            SELECT
                CASE
                    WHEN :processing_error IS NOT NULL OR (:flipped_at <= :synced_at AND :synced_at < :due_at) THEN :due_at
                    ELSE LEAST(:due_at, :flipped_at)
                END AS waits_since
            FROM :contacts
            WHERE
                :id :is d.key
                AND :due_at = d.due_at
                AND :claimed_by IS NULL
                AND :sync_status = 'Queued'
            LIMIT 1
        ) AS c
    ) AS oldest
