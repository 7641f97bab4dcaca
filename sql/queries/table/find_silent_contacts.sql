-- Contacts of one CRM in Error without a word of why, as counted by count_silent_contacts.sql; some of them, in no order.
--
-- $1  timestamptz  when they were counted
-- $2  id[]         not these: they were tried
-- $3  integer      at most so many
SELECT :id AS id
FROM :contacts
WHERE
    :sync_status = 'Error'
    AND :processing_status = 'Error'
    AND :processing_error IS NULL
    AND :claimed_by IS NULL
    AND (GREATEST(:flipped_at, :synced_at) > $1::timestamptz) IS NOT TRUE
    AND :id NOT IN (SELECT unnest($2:::id_type[]))
LIMIT $3::integer
