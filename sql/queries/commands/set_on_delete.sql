-- Sets what becomes of the record of a deleted contact at one CRM.
--
-- $1  text  crm
-- $2  text  keep, delete or erase
SELECT crm_sync.set_on_delete($1::text, $2::text)
