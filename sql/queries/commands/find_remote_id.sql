-- Where the id of a contact at one CRM is in the contacts table: the demo compares it with what the CRM holds.
--
-- $1  text  crm
SELECT remote_id_column
FROM crm_sync.lanes
WHERE crm = $1::text
