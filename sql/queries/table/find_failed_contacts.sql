-- Failed contacts of one CRM to be flipped, by the conditions in count_failed_contacts.sql; some of them, in no particular order.
--
-- Contacts that were flipped or claimed since they were counted are left out.
--
-- $1  text[]       the index entries of their reasons
-- $2  timestamptz  failed since; NULL: ever
-- $3  timestamptz  when they were counted
-- $4  boolean      include Complete contacts that lack a field
-- $5  id[]         of these contacts; NULL: of all
-- $6  id[]         not these: they were tried
-- $7  integer      at most this many
SELECT :id:as_read AS id
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
    AND split_part(left(:processing_error, 40), ':', 1) = ANY ($1::text[])
    AND :claimed_by IS NULL
    AND (
        :sync_status IN ('Error', 'Queued')
        OR ($4::boolean AND :sync_status = 'Complete' AND :processing_error ~ '^(FIELD_NOT_SENT|ALREADY_THERE):')
    )
    AND (
        $2::timestamptz IS NULL
        OR GREATEST(known.failed_at, known.failed_after) >= $2::timestamptz
        OR (known.failed_at IS NULL AND known.failed_before >= $2::timestamptz)
    )
    AND (GREATEST(:flipped_at, :synced_at) > $3::timestamptz) IS NOT TRUE
    AND (last_failed_crm = :'crm' AND last_retry_at > $3::timestamptz) IS NOT TRUE
    AND ($5:::sent_keys IS NULL OR :id :is ANY ($5:::sent_keys))
    -- A subquery, because it is hashed, however many there are.
    AND NOT :id :is ANY (SELECT unnest($6:::sent_keys))
LIMIT $7::integer
