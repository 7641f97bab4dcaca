-- The column of the contacts table with a contact's id in one CRM: the demo compares it with the CRM's records.
--
-- $1  text  crm
SELECT remote_id_column
FROM crm_sync.lanes
WHERE crm = $1::text
