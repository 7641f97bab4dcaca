-- What undoing the adoption loses for one CRM, in one pass over the table.
SELECT
    count(*) FILTER (WHERE :remote_id IS NOT NULL) AS known,
    count(*) FILTER (WHERE :sync_status::text = 'Complete') AS complete,
    count(*) FILTER (WHERE :due_at IS NOT NULL) AS in_line,
    count(*) FILTER (WHERE :processing_error IS NOT NULL) AS with_reason
FROM :contacts
