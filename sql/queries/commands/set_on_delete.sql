-- Sets what happens to a deleted contact's record in one CRM.
--
-- $1  text  crm
-- $2  text  keep, delete or erase
SELECT crm_sync.set_on_delete($1::text, $2::text)
