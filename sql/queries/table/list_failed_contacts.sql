-- One page of the failed contacts of one CRM, in key order: those that `crm-sync retry` flips, except those in Error without a
-- reason, which no index contains. The index of failures finds them.
--
-- failed_at is known only where the contact failed here last (see count_failed_contacts.sql).
--
-- $1  text[]       with these codes; NULL: with any
-- $2  timestamptz  failed since; NULL: ever
-- $3  id           after this one in order; NULL: from the first
-- $4  integer      at most this many
-- $5  boolean      include Complete contacts that lack a field
-- $6  id[]         of these contacts; NULL: of all
WITH
-- Materialized first, or the table would be read in key order.
failed AS MATERIALIZED (
    SELECT
        :id AS id,
        CASE :sync_status::text
            WHEN 'Error' THEN 'in Error'
            WHEN 'Queued' THEN 'waiting'
            ELSE 'Complete'
        END AS state,
        :processing_error AS error,
        :attempts AS attempts,
        :remote_id::text AS remote_id,
        known.failed_at,
        CASE WHEN :sync_status = 'Queued' THEN :due_at END AS due_at
    FROM :contacts
    CROSS JOIN LATERAL (
        SELECT
            CASE
                WHEN :sync_status = 'Complete' THEN :synced_at
                WHEN last_failed_crm = :'crm' THEN last_retry_at
            END AS failed_at,
            GREATEST(:synced_at, CASE WHEN :sync_status = 'Error' THEN :flipped_at END) AS failed_after,
            LEAST(last_retry_at, CASE WHEN :sync_status = 'Queued' THEN :due_at END) AS failed_before
    ) AS known
    WHERE
        :processing_error IS NOT NULL
        AND ($1::text[] IS NULL OR split_part(left(:processing_error, 40), ':', 1) = ANY ($1::text[]))
        AND :claimed_by IS NULL
        AND (
            :sync_status IN ('Error', 'Queued')
            OR ($5::boolean AND :sync_status = 'Complete' AND :processing_error ~ '^(FIELD_NOT_SENT|ALREADY_THERE):')
        )
        AND (
            $2::timestamptz IS NULL
            OR GREATEST(known.failed_at, known.failed_after) >= $2::timestamptz
            OR (known.failed_at IS NULL AND known.failed_before >= $2::timestamptz)
        )
        AND ($3:::sent_key IS NULL OR :id :is_after $3:::sent_key)
        AND ($6:::sent_keys IS NULL OR :id :is ANY ($6:::sent_keys))
)

SELECT
    -- As Postgres writes it, which reads it again.
    f.id::text AS key,
    f.state,
    f.error,
    f.attempts,
    f.remote_id,
    -- Drivers cannot read a time that makes no sense.
    CASE WHEN f.failed_at BETWEEN '1970-01-01' AND '9000-01-01' THEN f.failed_at END AS failed_at,
    CASE WHEN f.due_at BETWEEN '1970-01-01' AND '9000-01-01' THEN f.due_at END AS due_at
FROM failed AS f
ORDER BY f.id
LIMIT $4::integer
