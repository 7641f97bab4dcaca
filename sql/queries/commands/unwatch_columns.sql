-- Ends the watch of one CRM.
--
-- $1  text  crm
SELECT crm_sync.unwatch($1::text)
