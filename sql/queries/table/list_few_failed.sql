-- Like list_contacts.sql, for failed contacts if there are few: the index of failures finds all of them, wherever they are in the
-- table. The matching ones are put in key order.
--
-- looked counts those that the index found. If there are as many as the limit, there may be more, and no page can be made of them.
--
-- :by_code  the condition for codes; $2 is in it
-- $1  id       after this one; NULL: from the first
-- $2  text[]   with these codes; NULL: any
-- $3  text[]   with these sync statuses; NULL: any
-- $4  float8   failed within these seconds, and if no codes are given, not delivered since; NULL: whenever
-- $5  integer  contacts that the index may find, at most
-- $6  integer  contacts on the page, at most
WITH failed AS MATERIALIZED (
    SELECT
        :id AS id,
        :email::text AS email,
        :sync_status::text AS sync_status,
        :processing_error AS error,
        -- As in list_failed_contacts.sql: when it failed here, where that is known, else the latest that can be.
        CASE
            WHEN :processing_error IS NULL THEN NULL
            WHEN :sync_status = 'Complete' THEN :synced_at
            WHEN last_failed_crm = :'crm' THEN last_retry_at
            ELSE GREATEST(
                :synced_at,
                CASE WHEN :sync_status = 'Error' THEN :flipped_at END,
                LEAST(last_retry_at, CASE WHEN :sync_status = 'Queued' THEN :due_at END)
            )
        END AS failed_by,
        :remote_id::text AS remote_id,
        :attempts AS attempts,
        CASE WHEN :due_at BETWEEN '1970-01-01' AND '9000-01-01' THEN :due_at END AS due_at,
        :claimed_by AS claimed_by,
        CASE WHEN :synced_at BETWEEN '1970-01-01' AND '9000-01-01' THEN :synced_at END AS synced_at,
        CASE WHEN :flipped_at BETWEEN '1970-01-01' AND '9000-01-01' THEN :flipped_at END AS flipped_at
    FROM :contacts
    WHERE
        :processing_error IS NOT NULL
        AND :by_code
    -- The order of the index, or the table might be read.
    ORDER BY split_part(left(:processing_error, 40), ':', 1)
    LIMIT $5::integer
),

found AS (
    SELECT f.*
    FROM failed AS f
    WHERE
        ($1:::sent_key IS NULL OR f.id :is_after $1:::sent_key)
        AND ($3::text[] IS NULL OR f.sync_status = ANY ($3::text[]))
        AND (
            $4::float8 IS NULL
            OR (
                f.failed_by >= statement_timestamp() - make_interval(secs => $4::float8)
                AND ($2::text[] IS NOT NULL OR f.sync_status <> 'Complete')
            )
        )
    ORDER BY f.id
    LIMIT $6::integer
)

SELECT
    (SELECT count(*) FROM failed) AS looked,
    f.id:as_read AS id,
    f.id::text AS key,
    f.email,
    f.sync_status,
    f.error,
    f.remote_id,
    f.attempts,
    f.due_at,
    f.claimed_by,
    f.synced_at,
    f.flipped_at,
    clock_timestamp() AS now
FROM (SELECT) AS once
LEFT JOIN found AS f ON TRUE
ORDER BY f.id
