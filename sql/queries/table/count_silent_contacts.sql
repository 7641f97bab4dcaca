-- How many contacts of one CRM are in Error without a reason: other programs wrote that, because workers always give a reason. No
-- index contains them. Contacts withdrawn by writing Error are left out, because nothing failed.
--
-- $1  id[]  of these contacts; NULL: of all
SELECT count(*) AS contacts
FROM :contacts
WHERE
    :sync_status = 'Error'
    AND :processing_status = 'Error'
    AND :processing_error IS NULL
    AND :claimed_by IS NULL
    AND ($1:::sent_keys IS NULL OR :id :is ANY ($1:::sent_keys))
