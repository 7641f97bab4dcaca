-- Contacts of one CRM in Error without a reason, as counted by count_silent_contacts.sql; some of them, in no particular order.
--
-- $1  timestamptz  when they were counted
-- $2  id[]         of these contacts; NULL: of all
-- $3  id[]         not these: they were tried
-- $4  integer      at most this many
SELECT :id:as_read AS id
FROM :contacts
WHERE
    :sync_status = 'Error'
    AND :processing_status = 'Error'
    AND :processing_error IS NULL
    AND :claimed_by IS NULL
    AND (GREATEST(:flipped_at, :synced_at) > $1::timestamptz) IS NOT TRUE
    AND ($2:::sent_keys IS NULL OR :id :is ANY ($2:::sent_keys))
    AND NOT :id :is ANY (SELECT unnest($3:::sent_keys))
LIMIT $4::integer
