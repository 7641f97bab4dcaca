-- A page of the contacts of one CRM, in key order: the matching ones from a stretch of the table that is read in that order.
-- However few match, no more than the stretch is read. If the page ends with the stretch, the next one continues there.
--
-- Returns at least one row, without a contact if none was found: looked counts the contacts of the stretch, last is its last key.
-- A time that makes no sense (infinity, BC), which drivers cannot read, becomes NULL.
--
-- :beyond  the condition for following contacts; $1 is in it
-- $1  id       after this one; NULL: from the first
-- $2  text[]   with these sync statuses; NULL: any
-- $3  text[]   failed with these codes; NULL: any
-- $4  integer  contacts to read, at most
-- $5  integer  contacts on the page, at most
-- $6  float8   failed within these seconds, and if no codes are given, not delivered since; NULL: whenever
WITH stretch AS MATERIALIZED (
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
        CASE WHEN :flipped_at BETWEEN '1970-01-01' AND '9000-01-01' THEN :flipped_at END AS flipped_at,
        row_number() OVER (ORDER BY :id) AS place
    FROM :contacts
    WHERE :beyond
    ORDER BY :id
    LIMIT $4::integer
),

found AS (
    SELECT s.*
    FROM stretch AS s
    WHERE
        ($2::text[] IS NULL OR s.sync_status = ANY ($2::text[]))
        AND ($3::text[] IS NULL OR split_part(left(s.error, 40), ':', 1) = ANY ($3::text[]))
        AND (
            $6::float8 IS NULL
            OR (
                s.failed_by >= statement_timestamp() - make_interval(secs => $6::float8)
                AND ($3::text[] IS NOT NULL OR s.sync_status <> 'Complete')
            )
        )
    ORDER BY s.place
    LIMIT $5::integer
),

looked AS (
    SELECT max(s.place) AS looked
    FROM stretch AS s
)

SELECT
    l.looked,
    e.id:as_read AS last,
    e.id::text AS last_key,
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
FROM looked AS l
LEFT JOIN stretch AS e ON l.looked = e.place
LEFT JOIN found AS f ON TRUE
ORDER BY f.place
