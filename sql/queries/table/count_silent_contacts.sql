-- How many contacts of one CRM are in Error without a reason: other programs left them, for a worker gives a reason. No index
-- has them. Not those that were withdrawn by writing Error: of them nothing failed.
--
-- $1  id[]  of these contacts; NULL: of all
SELECT count(*) AS contacts
FROM :contacts
WHERE
    :sync_status = 'Error'
    AND :processing_status = 'Error'
    AND :processing_error IS NULL
    AND :claimed_by IS NULL
    AND ($1:::id_type[] IS NULL OR :id :is ANY ($1:::id_type[]))
